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
    assert errors.IdempotencyAlreadyInProgressError("busy", retry_after_ms=7).retry_after_ms == 7
    assert errors.IdempotencyAlreadyInProgressError("busy").retry_after_ms is None
