"""Swaps that compare too little of what stands with what is expected (CAS-2)."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

from idemproof.spec.record import COMPLETED, INPROGRESS, Record, same_version

from .exhibits import broken
from .foundations import Dictionary


@broken(CAS_2="contract", INV_1="exclusion", INV_2="contract")
class LastWriteWins(Dictionary):
    """It stores whatever it is given, and never compares."""

    def may_replace(self, _standing: Record | None, _expected: Record | None, _new: Record | None) -> bool:
        return True


@broken(CAS_2="contract", INV_1="exclusion")
class ClaimsWithoutLooking(Dictionary):
    """Who expects nothing may write, whatever stands."""

    def may_replace(self, standing: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return expected is None or same_version(standing, expected)


@broken(CAS_2="contract", INV_1="exclusion")
class TakesOverWithoutLooking(Dictionary):
    """Who has seen a claim that was over may replace the claim that stands now."""

    def may_replace(self, standing: Record | None, expected: Record | None, new: Record | None) -> bool:
        takes_over = expected is not None and new is not None and new.status == INPROGRESS
        return takes_over or same_version(standing, expected)


@broken(
    CAS_2="fencing",
    seen_in="Powertools for AWS Lambda 3.37: a run that outlived its lease overwrites the new owner's result",
)
class CompletesWithoutLooking(Dictionary):
    """A result is stored whatever stands, so a late run overwrites the new owner's."""

    def may_replace(self, standing: Record | None, expected: Record | None, new: Record | None) -> bool:
        return (new is not None and new.status == COMPLETED) or same_version(standing, expected)


@broken(
    CAS_2="fencing",
    INV_2="exclusion",
    seen_in="Powertools for AWS Lambda 3.37: a late run that raises deletes the new owner's result, "
    "and a third call runs again",
)
class ReleasesWithoutLooking(Dictionary):
    """A release deletes whatever stands: another's claim, or a result."""

    def may_replace(self, standing: Record | None, expected: Record | None, new: Record | None) -> bool:
        return new is None or same_version(standing, expected)


@broken(CAS_2="fencing", INV_2="exclusion")
class ReleasesResults(Dictionary):
    """A release respects another's claim, and deletes a result."""

    def may_replace(self, standing: Record | None, expected: Record | None, new: Record | None) -> bool:
        deletes_result = new is None and standing is not None and standing.status == COMPLETED
        return deletes_result or same_version(standing, expected)


@broken(CAS_2="fencing")
class ReleasesClaimsOfOthers(Dictionary):
    """A release respects a result, and deletes another's claim."""

    def may_replace(self, standing: Record | None, expected: Record | None, new: Record | None) -> bool:
        deletes_claim = new is None and standing is not None and standing.status == INPROGRESS
        return deletes_claim or same_version(standing, expected)


@broken(CAS_2="fencing")
class ComparesTheStatusOnly(Dictionary):
    """Any claim is taken for the expected one: a previous owner completes another's."""

    def may_replace(self, standing: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return (standing and standing.status) == (expected and expected.status)


@broken(CAS_2="faults", INV_2="exclusion")
class ComparesThatThereIsOne(Dictionary):
    """Any record is taken for the expected one, if there is one: an UPDATE of an existing row."""

    def may_replace(self, standing: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return (standing is None) == (expected is None)


@broken(CAS_2="contract")
class ComparesTheExpiryOnly(Dictionary):
    """A record with the same expiry is taken for the expected one; two of one second have the same."""

    def may_replace(self, standing: Record | None, expected: Record | None, _new: Record | None) -> bool:
        return (standing and standing.expiry_timestamp) == (expected and expected.expiry_timestamp)


@broken(CAS_2="contract")
class ComparesTheOwnerOnly(Dictionary):
    """A record of the same owner is taken for the expected one; those of other software have none."""

    def may_replace(self, standing: Record | None, expected: Record | None, _new: Record | None) -> bool:
        if standing is None or expected is None:
            return standing is expected
        return standing.owner == expected.owner


class _ComparesAllBut(Dictionary):
    """Compares what CAS-2 names, but for one field."""

    field: str

    def may_replace(self, standing: Record | None, expected: Record | None, _new: Record | None) -> bool:
        if standing is not None and expected is not None:
            expected = expected._replace(**{self.field: getattr(standing, self.field)})
        return same_version(standing, expected)


@broken(CAS_2="contract")
class ComparesAllButTheOwner(_ComparesAllBut):
    """It compares status, expiry and lease; so two claims of one millisecond are the same to it."""

    field = "owner"


@broken(CAS_2="contract")
class ComparesAllButTheStatus(_ComparesAllBut):
    """It compares owner, expiry and lease; so a result is the same to it as a claim without a lease."""

    field = "status"


@broken(CAS_2="contract")
class ComparesAllButTheExpiry(_ComparesAllBut):
    """It compares owner, status and lease; so it does not see that a result is kept for another time."""

    field = "expiry_timestamp"


@broken(CAS_2="contract")
class ComparesAllButTheLease(_ComparesAllBut):
    """It compares owner, status and expiry; so who has seen a lease end replaces one that was renewed."""

    field = "in_progress_expiry_timestamp"


@broken(CAS_2="contract", REC_4="contract")
class TellsEmptyFromAbsent(Dictionary):
    """It keeps an absent owner as empty text, and then takes the two for different."""

    def may_replace(self, standing: Record | None, expected: Record | None, _new: Record | None) -> bool:
        if standing is None or expected is None:
            return standing is expected
        return (standing.owner or "") == expected.owner and same_version(standing, expected)
