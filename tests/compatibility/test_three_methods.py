"""Redis clients with ``get``, ``set`` and ``delete`` alone: what the original guards with them, ours does."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from both_sides import Handler, either_side, fakeredis_client  # noqa: F401 - fixture

pytestmark = [
    pytest.mark.filterwarnings("ignore:Three has only get, set and delete:UserWarning"),
    pytest.mark.filterwarnings("ignore:Redis.* will be removed:DeprecationWarning"),
]

OVER: dict[str, dict[str, Any]] = {
    "an abandoned claim": {"status": "INPROGRESS", "in_progress_expiration": 1},
    "an expired result": {"status": "COMPLETED", "expiration": 1, "data": '"old"'},
}


class Three:
    """A client with three methods, which calls ``before_writing`` when a takeover is about to write."""

    def __init__(self) -> None:
        self.redis = fakeredis_client()
        self.before_writing: Callable[[], None] | None = None

    def get(self, name: Any) -> Any:
        return self.redis.get(name)

    def set(self, name: Any, value: Any, ex: Any = None, nx: bool = False) -> Any:
        hook = self.before_writing
        if hook is not None and not nx:
            self.before_writing = None
            hook()
        return self.redis.set(name, value, ex=ex, nx=nx)

    def delete(self, *names: Any) -> Any:
        return self.redis.delete(*names)

    def leave(self, over: dict[str, Any]) -> str:
        """Put what is over in place of the one record, and return its key."""
        (key,) = self.redis.scan_iter()
        self.redis.set(key, json.dumps(json.loads(self.redis.get(key)) | over))
        return key.decode()


@pytest.fixture(name="three")
def client_of_three_methods() -> Three:
    return Three()


@pytest.fixture(name="handler")
def decorated_handler(side: Any, three: Three) -> Handler:
    handler = Handler(side, side.Cache(client=three))
    handler()
    handler.runs = 0
    return handler


@pytest.mark.parametrize("over", OVER.values(), ids=OVER)
def test_of_two_calls_that_take_over_at_once_one_runs(
    side: Any, three: Three, handler: Handler, over: dict[str, Any]
) -> None:
    three.leave(over)

    def rival() -> None:
        with pytest.raises(side.errors.IdempotencyInconsistentStateError):
            handler()

    three.before_writing = rival
    assert handler() == {"done": 1}
    assert handler.runs == 1
    assert three.before_writing is None


@pytest.mark.parametrize("over", OVER.values(), ids=OVER)
def test_nothing_runs_while_another_takes_over(
    side: Any, three: Three, handler: Handler, over: dict[str, Any]
) -> None:
    lock = f"{three.leave(over)}:lock"
    three.redis.set(lock, "True", ex=10)
    with pytest.raises(side.errors.IdempotencyInconsistentStateError):
        handler()
    assert handler.runs == 0
    three.redis.delete(lock)
    assert handler() == {"done": 1}
    assert handler.runs == 1


@pytest.mark.parametrize("over", OVER.values(), ids=OVER)
def test_a_takeover_locks_for_ten_seconds(three: Three, handler: Handler, over: dict[str, Any]) -> None:
    lock = f"{three.leave(over)}:lock"
    handler()
    assert 0 < three.redis.ttl(lock) <= 10


def test_a_claim_needs_no_lock(three: Three, handler: Handler) -> None:
    three.redis.flushall()
    handler()
    assert [key for key in three.redis.scan_iter() if key.endswith(b":lock")] == []
