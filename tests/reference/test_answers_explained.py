"""What errors about results say of their cause, and what is logged of an operation."""

import logging
from typing import Any

import pytest

from idemproof.drivers.interrupts import KNOWN_INTERRUPTS
from idemproof.errors import (
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencySerializationError,
)
from idemproof.reference.answers import Answers, not_stored
from idemproof.reference.observers import log_occurrence
from idemproof.serialization import BaseIdempotencySerializer
from idemproof.spec.events import Replay
from idemproof.spec.occurrences import Kind, Occurrence
from idemproof.spec.record import COMPLETED, Record


class Strict(BaseIdempotencySerializer):
    def to_dict(self, data: Any) -> Any:
        return data

    def from_dict(self, data: Any) -> Any:
        raise KeyError(f"no field of {data}")


def test_a_result_that_is_too_large_is_reported_with_what_the_store_said() -> None:
    error = not_stored("order#1", {1}, IdempotencyRecordTooLargeError("400 KB at most"))
    assert type(error) is IdempotencyPersistenceLayerError
    assert "'order#1'" in str(error)
    assert "but its result is too large for the store: this error carries the result" in str(error)
    assert error.details == "400 KB at most"
    assert error.result == {1}


def test_a_result_that_is_not_json_is_reported_with_its_type_and_the_cause() -> None:
    error: Any = not_stored("order#1", {1}, TypeError("a set"))
    assert type(error) is IdempotencySerializationError
    assert "but its result of type set cannot be stored as JSON: this error carries the result" in str(error)
    assert error.details == "a set"
    assert error.result == {1}


def test_a_stored_result_that_its_serializer_refuses_is_reported_with_the_cause() -> None:
    answers = Answers(Strict(), None, None)
    with pytest.raises(IdempotencySerializationError, match="'order#1' does not fit") as raised:
        answers.of(Replay(Record("order#1", COMPLETED, 60, None, '"kept"')))
    assert raised.value.details == "'no field of kept'"
    assert isinstance(raised.value.__cause__, KeyError)


def test_what_happened_is_logged_with_the_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "idemproof"):
        log_occurrence(Occurrence(Kind.COMPLETED, "order#1"), KNOWN_INTERRUPTS)
    assert [record.getMessage() for record in caplog.records] == ["completed: order#1"]
