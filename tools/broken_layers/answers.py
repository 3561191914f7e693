"""Swaps and loads that do not return the stored record (CAS-1, CAS-3)."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

from typing import Any

from idemproof.spec.record import COMPLETED, RESULT_UNAVAILABLE, Record

from .exhibits import broken
from .foundations import Dictionary


class _Answers(Dictionary):
    """Swaps correctly, but may return something else."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.lock:
            current = self.read(key)
            if not self.may_replace(current, expected, new):
                return self.refused(current, expected, new)
            self.write(key, new)
            return self.granted(current, new)

    def granted(self, _current: Record | None, new: Record | None) -> Record | None:
        """Return the answer to a swap that was done."""
        return new

    def refused(self, found: Record | None, _expected: Record | None, _new: Record | None) -> Record | None:
        """Return the answer to a swap that was refused."""
        return found


@broken(CAS_3="contract", INV_1="exclusion")
class SaysYesToEverybody(_Answers):
    """It answers a refused swap with the new record, as if it had stored it."""

    def refused(self, _found: Record | None, _expected: Record | None, new: Record | None) -> Record | None:
        return new


@broken(CAS_3="contract")
class RefusesWithoutSayingWhy(_Answers):
    """It answers a refused swap with None, although a record is stored."""

    def refused(self, _found: Record | None, _expected: Record | None, _new: Record | None) -> Record | None:
        return None


@broken(CAS_3="contract")
class RefusesWithWhatWasExpected(_Answers):
    """It answers a refused swap with the expected record, not with the stored one."""

    def refused(self, _found: Record | None, expected: Record | None, _new: Record | None) -> Record | None:
        return expected


@broken(CAS_3="contract")
class AnswersFromBefore(_Answers):
    """It stores the new record, and answers with the previous one."""

    def granted(self, current: Record | None, _new: Record | None) -> Record | None:
        return current


@broken(CAS_3="contract")
class SaysNothingOfSuccess(_Answers):
    """It stores the new record, and answers None."""

    def granted(self, _current: Record | None, _new: Record | None) -> Record | None:
        return None


@broken(
    CAS_3="faults",
    INV_6="contract",
    seen_in="Powertools for AWS Lambda 3.37, idemkit 1.0: a client whose reply was lost is refused because "
    "of its own record, and no call can run until the lease ends",
)
class DoesNotKnowItsOwnWrite(_Answers):
    """It refuses a repeated swap whose first reply was lost, and does not say whose record is stored."""

    def refused(self, found: Record | None, _expected: Record | None, _new: Record | None) -> Record | None:
        return None if found is None else found._replace(owner=None)


@broken(CAS_3="contract")
class RaisesOnConflict(_Answers):
    """It raises its own error when another record is stored, instead of returning that record."""

    def refused(self, found: Record | None, _expected: Record | None, _new: Record | None) -> Record | None:
        raise RuntimeError(f"version conflict: {found!r}")


@broken(CAS_3="contract")
class DeletesAndStillAnswers(_Answers):
    """It answers a release with the record that it has just deleted."""

    def granted(self, current: Record | None, new: Record | None) -> Record | None:
        return current if new is None else new


@broken(CAS_3="contract")
class DoesNotDelete(Dictionary):
    """It reports a release as done, but keeps the record."""

    def write(self, key: str, new: Record | None) -> None:
        if new is not None:
            self.rows[key] = new


@broken(CAS_1="contract")
class RaisesForAbsence(Dictionary):
    """Its load raises KeyError for a key that has no record."""

    def _load(self, key: str) -> Record | None:
        return self.rows[key]


@broken(REC_1="contract")
class LoadsADictionary(Dictionary):
    """Its load returns a plain dictionary, not a record."""

    def _load(self, key: str) -> Any:
        found = self.rows.get(key)
        return None if found is None else found._asdict()


@broken(CAS_1="contract")
class LoadsClaimsOnly(Dictionary):
    """Its load finds no record once an operation is completed."""

    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return None if found is not None and found.in_progress_expiry_timestamp is None else found


@broken(CAS_3="contract", REC_6="contract")
class ChokesOnTheUnavailable(Dictionary):
    """It refuses to store the marker of an unavailable result, because it is not JSON."""

    def write(self, key: str, new: Record | None) -> None:
        if new is not None and new.response_data == RESULT_UNAVAILABLE:
            raise ValueError("response_data must be JSON")
        super().write(key, new)


@broken(CAS_3="contract")
class RefusesWithoutTheResponse(_Answers):
    """It answers a refused swap with the stored record, but without its response."""

    def refused(self, found: Record | None, _expected: Record | None, _new: Record | None) -> Record | None:
        return None if found is None else found._replace(response_data=None)


@broken(CAS_3="contract")
class StoresNoResults(_Answers):
    """It answers that it has stored a result, but keeps the claim."""

    def write(self, key: str, new: Record | None) -> None:
        if new is None or new.status != COMPLETED:
            super().write(key, new)


@broken(CAS_3="fencing")
class RaisesOnRelease(_Answers):
    """It raises KeyError instead of releasing a claim."""

    def write(self, key: str, new: Record | None) -> None:
        if new is None:
            raise KeyError(key)
        super().write(key, new)
