"""Swaps that compare too little of the stored record with the expected one (CAS-2)."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

from idemproof.spec.record import COMPLETED, INPROGRESS, Record, same_version

from .exhibits import broken
from .foundations import Dictionary


@broken(CAS_2="contract", INV_1="exclusion", INV_2="contract")
class LastWriteWins(Dictionary):
    """It stores every record, and never compares."""

    def may_replace(self, _current: Record | None, _expected: Record | None, _new: Record | None) -> bool:
        return True


@broken(CAS_2="contract", INV_1="exclusion")
class ClaimsWithoutLooking(Dictionary):
    """It lets a caller that expects no record write over any record."""

    def may_replace(self, current: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return expected is None or same_version(current, expected)


@broken(CAS_2="contract", INV_1="exclusion")
class TakesOverWithoutLooking(Dictionary):
    """It lets a caller that has read a lapsed claim replace the claim that is stored now."""

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:
        takes_over = expected is not None and new is not None and new.status == INPROGRESS
        return takes_over or same_version(current, expected)


@broken(
    CAS_2="fencing",
    seen_in="Powertools for AWS Lambda 3.37: a run that outlived its lease overwrites the new owner's result",
)
class CompletesWithoutLooking(Dictionary):
    """It stores a result over any record, so a late run overwrites the new owner's result."""

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:
        return (new is not None and new.status == COMPLETED) or same_version(current, expected)


@broken(
    CAS_2="fencing",
    INV_2="exclusion",
    seen_in="Powertools for AWS Lambda 3.37: a late run that raises deletes the new owner's result, "
    "and a third call runs again",
)
class ReleasesWithoutLooking(Dictionary):
    """A release deletes any record: another attempt's claim, or a result."""

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:
        return new is None or same_version(current, expected)


@broken(CAS_2="fencing", INV_2="exclusion")
class ReleasesResults(Dictionary):
    """A release keeps another attempt's claim, but deletes a result."""

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:
        deletes_result = new is None and current is not None and current.status == COMPLETED
        return deletes_result or same_version(current, expected)


@broken(CAS_2="fencing")
class ReleasesClaimsOfOthers(Dictionary):
    """A release keeps a result, but deletes another attempt's claim."""

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:
        deletes_claim = new is None and current is not None and current.status == INPROGRESS
        return deletes_claim or same_version(current, expected)


@broken(CAS_2="fencing")
class ComparesTheStatusOnly(Dictionary):
    """It accepts any claim as the expected one: a previous owner completes another attempt's claim."""

    def may_replace(self, current: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return (current and current.status) == (expected and expected.status)


@broken(CAS_2="faults", INV_2="exclusion")
class ComparesThatThereIsOne(Dictionary):
    """It accepts any record as the expected one, as an UPDATE of an existing row does."""

    def may_replace(self, current: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return (current is None) == (expected is None)


@broken(CAS_2="contract")
class ComparesTheExpiryOnly(Dictionary):
    """It accepts any record with the expected expiry; two records of one second have the same."""

    def may_replace(self, current: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return (current and current.expiry_timestamp) == (expected and expected.expiry_timestamp)


@broken(CAS_2="contract")
class ComparesTheOwnerOnly(Dictionary):
    """It accepts a record of the same owner as the expected one; records of other software have no owner."""

    def may_replace(self, current: Record | None, expected: Record | None, _new: Record | None) -> bool:
        if current is None or expected is None:
            return current is expected
        return current.owner == expected.owner


class _ComparesAllBut(Dictionary):
    """Compares the fields that CAS-2 names, except one."""

    field: str

    def may_replace(self, current: Record | None, expected: Record | None, _new: Record | None) -> bool:
        if current is not None and expected is not None:
            expected = expected._replace(**{self.field: getattr(current, self.field)})
        return same_version(current, expected)


@broken(CAS_2="contract")
class ComparesAllButTheOwner(_ComparesAllBut):
    """It compares status, expiry and lease only, so it cannot distinguish two claims of one millisecond."""

    field = "owner"


@broken(CAS_2="contract")
class ComparesAllButTheStatus(_ComparesAllBut):
    """It compares owner, expiry and lease only, so it confuses a result with a claim without a lease."""

    field = "status"


@broken(CAS_2="contract")
class ComparesAllButTheExpiry(_ComparesAllBut):
    """It compares owner, status and lease only, so it misses that a result has another expiry."""

    field = "expiry_timestamp"


@broken(CAS_2="contract")
class ComparesAllButTheLease(_ComparesAllBut):
    """It compares owner, status and expiry only, so a renewed claim is replaced as the lapsed one."""

    field = "in_progress_expiry_timestamp"


@broken(CAS_2="contract", REC_4="contract")
class TellsEmptyFromAbsent(Dictionary):
    """It stores an absent owner as empty text, and then treats the two as different."""

    def may_replace(self, current: Record | None, expected: Record | None, _new: Record | None) -> bool:
        if current is None or expected is None:
            return current is expected
        return (current.owner or "") == expected.owner and same_version(current, expected)


@broken(CAS_2="contract")
class ComparesEveryField(Dictionary):
    """It also compares the response and the payload hash, so it refuses the expected version."""

    def may_replace(self, current: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return current == expected


@broken(CAS_2="contract")
class CreatesWhatIsGone(Dictionary):
    """It stores a record although the expected one is gone, as an upsert does."""

    def may_replace(self, current: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return current is None or same_version(current, expected)


@broken(CAS_2="contract")
class RefusesEveryTakeover(Dictionary):
    """It replaces a record only with the result of the same claim, so no dead worker is ever replaced."""

    def may_replace(self, current: Record | None, expected: Record | None, new: Record | None) -> bool:
        claims = new is not None and new.status == INPROGRESS
        return current is None if claims else same_version(current, expected)
