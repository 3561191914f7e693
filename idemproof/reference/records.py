"""Operations on the record of a key: inspect it, forget it, or resolve it with a result.

The transition table decides each change. Forgetting is an eviction of a record that the operator declares
over (OPS-1). Resolving is a completion on behalf of the claim's owner (OPS-3). Each is a compare-and-swap
that expects the inspected record.
"""

from collections.abc import Callable
from typing import Any

from ..backends.records import DataRecord
from ..spec.commands import Load, Steps
from ..spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyInconsistentStateError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyKeyError,
    IdempotencyPersistenceLayerError,
    IdempotencyValidationError,
)
from ..spec.events import REFUSE, Claim, Complete, Completed, Evict, Evicted, PayloadMismatch, Superseded
from ..spec.occurrences import Kind
from ..spec.record import (
    COMPLETED,
    INPROGRESS,
    Record,
    ceil_seconds,
    checked,
    deadline_ms,
    live,
    same_version,
)
from ..spec.settle import Change, Granted, settle
from ..spec.transition import transition
from .core import Core
from .engine import Engine
from .observers import Report

_ITS_OWNER = "the owner of the claim"


class Records:
    """Reads and changes records, one key at a time.

    The methods that begin with ``a`` are coroutines, for async layers and event loops.

    Parameters
    ----------
    core
        Makes the requests to the store.
    named
        Returns the stored key for a key of the user, or raises an error.
    """

    def __init__(self, core: Core, named: Callable[[Any], str] | None = None) -> None:
        self._core = core
        self._named = checked_key if named is None else named

    def inspect(self, key: str) -> Record | None:
        """Return the stored record of ``key``, even if it has expired; None without one.

        Parameters
        ----------
        key
            The idempotency key.

        Raises
        ------
        IdempotencyPersistenceLayerError
            The store failed, or the record is corrupt.
        """
        found: Record | None = self._core.perform(_inspecting(self._named(key)))
        return found

    def forget(self, key: str, *, even_in_progress: bool = False) -> Record | None:
        """Delete the record of ``key``, so that the operation can run again. Return the record, or None.

        Local caches of other processes keep a result until it expires.

        Parameters
        ----------
        key
            The idempotency key.
        even_in_progress
            Also delete a claim whose lease has not ended. If its worker lives, the operation may run twice.

        Raises
        ------
        IdempotencyAlreadyInProgressError
            An attempt is in progress. Nothing was deleted.
        IdempotencyInconsistentStateError
            The record has changed in the meantime. Nothing was deleted.
        """
        name = self._named(key)
        found: Record | None = self._core.perform(_forgetting(name, even_in_progress=even_in_progress))
        return found

    def resolve(self, key: str, result: Any, *, payload_hash: str | None = None) -> Record:
        """Store the result of an operation that is stuck in progress, and return its record.

        An attempt that is still running gets this result instead of its own.

        Parameters
        ----------
        key
            The idempotency key.
        result
            The result for all callers. It is stored like a returned result.
        payload_hash
            The payload hash of the call whose result it is. The record must be of that call (OPS-4).

        Raises
        ------
        IdempotencyItemNotFoundError
            The key has no record.
        IdempotencyValidationError
            The record is of a call with another payload. Nothing was stored.
        IdempotencyItemAlreadyExistsError
            The operation has completed with another result.
        IdempotencyInconsistentStateError
            The record has changed in the meantime. Nothing was stored.
        IdempotencySerializationError
            The result cannot be stored.
        """
        found: Record = self._core.perform(_resolving(self._named(key), result, payload_hash))
        return found

    async def ainspect(self, key: str) -> Record | None:
        """Return the record of ``key``, as :meth:`inspect` does."""
        found: Record | None = await self._core.aperform(_inspecting(self._named(key)))
        return found

    async def aforget(self, key: str, *, even_in_progress: bool = False) -> Record | None:
        """Delete the record of ``key``, as :meth:`forget` does."""
        name = self._named(key)
        found: Record | None = await self._core.aperform(_forgetting(name, even_in_progress=even_in_progress))
        return found

    async def aresolve(self, key: str, result: Any, *, payload_hash: str | None = None) -> Record:
        """Store the result of an operation, as :meth:`resolve` does."""
        found: Record = await self._core.aperform(_resolving(self._named(key), result, payload_hash))
        return found


def checked_key(key: Any) -> str:
    """Return the key of a user, after a check.

    Raises
    ------
    IdempotencyKeyError
        The key is not a string, is empty, or cannot be encoded as UTF-8.
    """
    if not isinstance(key, str):
        raise IdempotencyKeyError(
            f"A key must be a text, not {type(key).__name__}: a number or an object could be written in more "
            "than one way. Nothing ran. Give the text that names the operation."
        )
    if not key:
        raise IdempotencyKeyError(
            "A key must not be empty. Nothing ran. Give the text that names the operation."
        )
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise IdempotencyKeyError(
            f"The key {key!a} cannot be written as UTF-8. Nothing ran. Decode it properly first."
        ) from error
    return str.__str__(key)  # of a subclass the text alone


Operator = Callable[[Engine], Steps]


def _inspecting(key: str) -> Operator:
    return lambda engine: _translate_errors(engine, key, "read", _inspect(key))


def _forgetting(key: str, *, even_in_progress: bool) -> Operator:
    forced = bool(even_in_progress)
    return lambda engine: _translate_errors(engine, key, "forgotten", _forget(engine, key, forced=forced))


def _resolving(key: str, result: Any, payload_hash: str | None = None) -> Operator:
    return lambda engine: _translate_errors(
        engine, key, "resolved", _resolve(engine, key, result, payload_hash)
    )


def _translate_errors(engine: Engine, key: str, done: str, steps: Steps) -> Steps:
    """Perform ``steps``; errors of the store are raised as errors of the library."""
    try:
        return (yield from steps)
    except IdempotencyError as error:
        refusal: Exception = error
    except Exception as error:  # noqa: BLE001 - the error of any store
        refusal = IdempotencyPersistenceLayerError(
            f"The record of {key!r} may not have been {done}: the persistence layer failed. Try again.", error
        )
        refusal.__cause__ = error
    raise engine.interruptions.behind(refusal) or refusal


def _inspect(key: str) -> Steps:
    found = yield Load(key)
    return None if found is None else checked(found, key)


def _forget(engine: Engine, key: str, *, forced: bool) -> Steps:
    inspected = yield from _inspect(key)
    engine.forget_cached(key, inspected)
    if inspected is None:
        return None
    report = Report(key, engine.clock)
    subject = _Subject(inspected, forced=forced)
    outcome = yield from settle(_FORGET, subject, key, _as_left(inspected), engine.clock, report.decide)
    current = subject.held
    if isinstance(outcome, Evicted):
        if engine.observers.wants(Kind.FORGOTTEN):
            yield report.of(Kind.FORGOTTEN, outcome, record=inspected)
        return inspected
    assert current is not None  # nothing that is to be nothing counts as forgotten
    if same_version(current, inspected):
        left = deadline_ms(current) - engine.clock()
        raise IdempotencyAlreadyInProgressError(
            f"An attempt is in progress with the key {key!r}, for at most {left} ms more. Nothing was "
            "deleted. Wait, or, once its worker is known to be dead, pass even_in_progress=True.",
            retry_after_ms=left,
        )
    raise _changed(key)


def _resolve(engine: Engine, key: str, result: Any, payload_hash: str | None) -> Steps:
    text = engine.encoded(key, result)
    inspected = yield from _inspect(key)
    if inspected is None:
        raise IdempotencyItemNotFoundError(
            f"No record has the key {key!r}: nothing is stuck, and nothing was stored. Is it the stored key?"
        )
    repeat = Claim(None, None, 0, payload_hash, key, REFUSE)
    if isinstance(transition(inspected, repeat, engine.clock())[1], PayloadMismatch):
        raise IdempotencyValidationError(
            f"The record of {key!r} is of a call with another payload. Nothing was stored. Pass the "
            "arguments of the call that is stuck."
        )
    if inspected.status == COMPLETED:
        if inspected.response_data == text:
            return inspected
        raise _completed(key, inspected)
    report = Report(key, engine.clock)
    subject = _Subject(inspected, text=text, expiry=ceil_seconds(engine.clock() + engine.window_ms))
    outcome = yield from settle(_RESOLVE, subject, key, inspected, engine.clock, report.decide)
    if isinstance(outcome, Completed):
        if engine.observers.wants(Kind.RESOLVED):
            yield report.of(Kind.RESOLVED, outcome, record=subject.held)
        return subject.held
    raise _completed(key, outcome.record) if isinstance(outcome, Superseded) else _changed(key)


def _changed(key: str) -> IdempotencyInconsistentStateError:
    return IdempotencyInconsistentStateError(
        f"The record of {key!r} changed since it was looked at. Nothing was done to it. Inspect it again."
    )


def _completed(key: str, record: Record) -> IdempotencyItemAlreadyExistsError:
    return IdempotencyItemAlreadyExistsError(
        f"The operation {key!r} is completed with another result, which was not replaced. Forget it first if "
        "it may run again.",
        old_data_record=DataRecord.of(record),
    )


def _as_left(record: Record) -> Granted:
    """Return a record that was read, in a form that a store without owners can compare."""
    left = Granted(*record)
    left.as_left = DataRecord.of(record)
    return left


class _Subject:
    """An operator's change of the inspected record, and the stored record at the end."""

    __slots__ = ("expiry", "forced", "held", "inspected", "now", "text")

    def __init__(
        self, inspected: Record, *, forced: bool = False, text: str | None = None, expiry: int = 0
    ) -> None:
        self.inspected = inspected
        self.forced = forced
        self.text = text
        self.expiry = expiry
        self.now = 0
        self.held: Record | None = None


class _OfAnOperator(Change):
    """A change of the inspected version. If the record has changed since, nothing is done (OPS-1, OPS-3)."""

    conflicts = 0

    def restless(self, key: str, requests: int) -> Exception:  # noqa: ARG002 - it is tried once
        return _changed(key)


class _Forget(_OfAnOperator):
    """An eviction of a record that is declared over (OPS-1, OPS-2)."""

    def event(self, subject: _Subject, now: int) -> Evict:
        subject.now = now
        return Evict()

    @staticmethod
    def acting(subject: _Subject, current: Record | None) -> Record | None:
        if current is None:
            return current
        if current.status == INPROGRESS and live(current, subject.now) and not subject.forced:
            return current
        return current._replace(expiry_timestamp=0, in_progress_expiry_timestamp=None)


class _Resolve(_OfAnOperator):
    """A completion on behalf of the owner of the inspected claim (OPS-3)."""

    def event(self, subject: _Subject, now: int) -> Complete:  # noqa: ARG002 - its expiry is decided
        inspected = subject.inspected
        owner = _ITS_OWNER if inspected.owner is None else inspected.owner
        key = inspected.idempotency_key
        return Complete(owner, subject.text, inspected.payload_hash, subject.expiry, key)

    @staticmethod
    def acting(subject: _Subject, current: Record | None) -> Record | None:
        if current is not None and subject.inspected.owner is None and current.owner is None:
            return current._replace(owner=_ITS_OWNER)
        return current

    @staticmethod
    def proposed(subject: _Subject, new: Record | None) -> Record | None:
        return new if new is None else new._replace(owner=subject.inspected.owner)


_FORGET, _RESOLVE = _Forget(), _Resolve()
