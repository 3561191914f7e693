"""A final error in a shared store: the original and an older Idemproof fail, and do not return it."""

import json
from typing import Any

import pytest

from idemproof.spec.record import COMPLETED, ERROR_UNAVAILABLE, FINAL_ERROR

pytestmark = pytest.mark.once

ORDER = {"id": "o-1", "amount": 5}


class CardDeclined(Exception):  # noqa: N818 - as an application may call it
    pass


def never(order: Any) -> Any:
    pytest.fail("the body ran again")


def decline(order: Any) -> Any:
    raise CardDeclined("no", order["amount"])


def decline_strangely(order: Any) -> Any:
    raise CardDeclined(object())


FINAL = {"final_errors": (CardDeclined,)}


@pytest.mark.clause("FIN-2", "REC-6")
@pytest.mark.parametrize(
    ("body", "response"),
    [(decline, FINAL_ERROR), (decline_strangely, ERROR_UNAVAILABLE)],
    ids=["an error", "an error that cannot be stored"],
)
def test_the_original_fails_closed(store: Any, body: Any, response: str) -> None:
    store.call("ours", body, **FINAL)(ORDER)
    record = store.record(ORDER)
    assert record["status"] == COMPLETED
    assert record["data"].startswith(response)
    for _ in range(2):
        reply = store.call("original", never)(ORDER)
        assert reply == (None, json.JSONDecodeError.__name__)
    assert store.record(ORDER) == record
    again = store.call("ours", never, **FINAL)(ORDER)
    expected = "CardDeclined" if response == FINAL_ERROR else "IdempotencyResultUnavailableError"
    assert again == (None, expected)


@pytest.mark.clause("FIN-2")
def test_an_older_release_fails_closed(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store.call("ours", decline, **FINAL)(ORDER)
    record = store.record(ORDER)
    # Before version 2.0 of the protocol, every response but one marker was read as JSON.
    monkeypatch.setattr("idemproof.reference.answers.is_result", lambda response: True)
    assert store.call("ours", never)(ORDER) == (None, "IdempotencyInvalidStatusError")
    assert store.record(ORDER) == record


@pytest.mark.clause("FIN-5")
def test_a_function_that_does_not_declare_the_error_fails_closed(store: Any) -> None:
    store.call("ours", decline, **FINAL)(ORDER)
    assert store.call("ours", never)(ORDER) == (None, "IdempotencyUnknownFinalError")


def test_where_the_original_runs_the_body_a_final_error_releases(store: Any) -> None:
    """This is the harm in a mixed fleet: the original tries a declined card again."""
    assert store.call("original", decline)(ORDER) == (None, "CardDeclined")
    assert store.record(ORDER) is None
    assert store.call("ours", decline, **FINAL)(ORDER) == (None, "CardDeclined")
    assert store.call("ours", never, **FINAL)(ORDER) == (None, "CardDeclined")
