"""The attributes and texts of every error of the library."""

import pickle

import pytest

from idemproof.spec import errors
from idemproof.spec.record import COMPLETED, Record

pytestmark = pytest.mark.once

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@each_kind
def test_an_error_reads_as_its_message(kind: type[errors.IdempotencyError]) -> None:
    error = kind("The key is taken.")
    assert str(error) == error.message == "The key is taken."
    assert error.details is None
    assert error.args == ("The key is taken.",)


@each_kind
def test_details_follow_the_message_in_parentheses(kind: type[errors.IdempotencyError]) -> None:
    cause = OSError("no route")
    error = kind("Retry.", cause, "; twice")
    assert str(error) == "Retry. - (no route; twice)"
    assert error.message == "Retry."
    assert error.details == "no route; twice"
    assert error.args == ("Retry.", cause, "; twice")


@each_kind
def test_an_error_needs_no_message(kind: type[errors.IdempotencyError]) -> None:
    error = kind()
    assert str(error) == error.message == ""
    assert error.details is None
    assert error.args == ("",)


@each_kind
def test_details_without_a_message_are_kept_and_not_read_out(kind: type[errors.IdempotencyError]) -> None:
    error = kind("", "why")
    assert str(error) == ""
    assert error.details == "why"


def test_a_message_may_be_any_object() -> None:
    cause = OSError("no route")
    error = errors.IdempotencyError(cause)
    assert str(error) == error.message == "no route"
    assert error.args == (cause,)


def test_what_the_function_returned_is_carried() -> None:
    late = errors.IdempotencyLeaseLostError("late", "why", result=[1])
    assert (late.function_returned, late.result) == (True, [1])


def test_nothing_returned_is_reported_apart_from_a_function_that_has_not_returned() -> None:
    nothing, not_yet = (
        errors.IdempotencyLeaseLostError("late", result=None),
        errors.IdempotencyLeaseLostError("late"),
    )
    assert (nothing.function_returned, nothing.result) == (True, None)
    assert (not_yet.function_returned, not_yet.result) == (False, None)
    for error in (nothing, not_yet):
        assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


def test_the_conflicting_record_is_carried() -> None:
    record = Record("key", COMPLETED, 60)
    assert errors.IdempotencyItemAlreadyExistsError("taken", old_data_record=record).old_data_record is record
    assert errors.IdempotencyItemAlreadyExistsError("taken").old_data_record is None


def test_when_to_ask_again_is_carried() -> None:
    busy = errors.IdempotencyAlreadyInProgressError("busy", retry_after_ms=7, waited_ms=5)
    assert (busy.retry_after_ms, busy.waited_ms) == (7, 5)
    assert errors.IdempotencyAlreadyInProgressError("busy").waited_ms == 0


def test_the_cause_is_added_where_powertools_has_it() -> None:
    cause = OSError("no route")
    error = errors.IdempotencyError("Retry.", "why")
    assert error.because(cause) is error
    assert (error.args, str(error)) == (("Retry.", cause), "Retry. - (why)")


def test_how_a_function_ended_within_a_transaction_is_carried() -> None:
    declined = ValueError("declined")
    returned = errors.IdempotencyTransactionError("rolled back", kind="RolledBack", result=[1])
    raised = errors.IdempotencyTransactionError("rolled back", raised=declined)
    assert (returned.kind, returned.function_returned, returned.result) == ("RolledBack", True, [1])
    assert (raised.kind, raised.function_returned, raised.raised) == ("", False, declined)


def test_a_final_error_that_cannot_be_raised_is_described() -> None:
    unknown = errors.IdempotencyUnknownFinalError("unknown", type_name="shop.Declined", arguments=(1,))
    assert (unknown.type_name, unknown.arguments) == ("shop.Declined", (1,))
    unknown = errors.IdempotencyUnknownFinalError("unknown")
    assert (unknown.type_name, unknown.arguments) == ("", ())
    assert errors.IdempotencyAlreadyInProgressError("busy").retry_after_ms is None
