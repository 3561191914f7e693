"""The attempt, seen from the body that it runs."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from ..backends.base import AsyncCompareAndSwapLayer, InThreads
from ..backends.called_layers import calls_methods
from ..backends.within import Client, built_in, records_of
from ..drivers import running
from ..drivers.blocking import drive
from ..spec.commands import Steps
from ..spec.errors import IdempotencyConfigError, IdempotencyError, IdempotencyLeaseLostError
from ..spec.record import Record, deadline_ms, live, same_execution
from .attempt import Attempt
from .changes import RunEndedError

running.wanted = True

Result = TypeVar("Result")

_LOST = "has lost its claim: its lease ended, or the store lost it"
_ENDED = "has ended, so it no longer holds its claim"


class CurrentAttempt:
    """The attempt that runs the current function. :func:`current_attempt` returns it.

    It can be passed to other threads and tasks. After the function has ended, only its attributes can be
    read.
    """

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    @property
    def key(self) -> str:
        """The idempotency key."""
        return self._attempt.key

    @property
    def owner(self) -> str:
        """The attempt's owner token. It is unique, but has no order: it does not show which one is newer."""
        return self._attempt.owner

    @property
    def took_over(self) -> Record | Literal[False]:
        """The claim that this attempt replaced, whose effect may have happened; False if it replaced none."""
        replaced: Record | None = getattr(self._attempt, "replaced", None)
        # An earlier invocation of the same durable execution is the same attempt (DUR-2).
        return False if replaced is None or same_execution(replaced, self.owner) else replaced

    @property
    def lease_ends_at(self) -> int:
        """When the lease, or a claim without one, ends, as far as this process knows (epoch milliseconds)."""
        return deadline_ms(self._claim)

    def remaining_ms(self) -> int:
        """Return how many milliseconds of the lease are left, by the configured clock; 0 if none are."""
        now: int = self._attempt.engine.clock()
        return max(0, self.lease_ends_at - now)

    @property
    def lost(self) -> bool:
        """Whether a renewal was refused: another attempt has taken over, or the record is gone."""
        renewal = self._attempt.renewal
        return renewal is not None and renewal.lost

    def check(self) -> None:
        """Raise unless the attempt still holds its claim, as far as this process knows. It sends no request.

        Call it before an effect that cannot be undone.

        Raises
        ------
        IdempotencyLeaseLostError
            A renewal was refused, the lease has ended, or the attempt has.
        """
        self._refuse_ended()
        if not live(self._claim, self._attempt.engine.clock()):
            raise self._loss("is no longer protected: its lease has ended")

    def renew(self) -> None:
        """Renew the lease now. Functions with ``renew_lease=True`` need it only before long blocking work.

        Raises
        ------
        IdempotencyLeaseLostError
            The claim is lost, or the attempt has ended or has completed within a transaction.
        IdempotencyConfigError
            The lease cannot be renewed: the layer stores no owner tokens, there is no lease,
            ``max_run_seconds`` is used up, the call is in a durable execution, or the function is async: then
            await :meth:`arenew`.
        Exception
            What the store raised. The lease is as it was.
        """
        layer = self._layer(asynchronous=False)
        self._judge(drive(self._steps(), layer, observe=self._attempt.engine.observe))

    async def arenew(self) -> None:
        """Renew the lease now, from an ``async def`` function. See :meth:`renew`."""
        from ..drivers.asynchronous import drive_async  # noqa: PLC0415 - blocking programs never need asyncio

        layer = self._layer(asynchronous=True)
        self._judge(await drive_async(self._steps(), layer, observe=self._attempt.engine.observe))

    def complete(self, result: Result, *, within: Any, savepoint: bool = False) -> Result:
        """Complete this attempt in a transaction of your own, so that it is committed with your effect.

        The record becomes part of the transaction of ``within``. If that is committed, the operation is done
        and repeats get ``result``; if it is rolled back, neither the effect nor the record exists. Call it
        once, as late as possible, and return what it returns. The lease is not renewed after it.

        Parameters
        ----------
        result
            What the function will return.
        within
            The connection, in a transaction: of ``sqlite3``, psycopg 3, or Django, or a Connection or Session
            of SQLAlchemy. It must be of the database that has the records.
        savepoint
            Whether the transaction may be in a savepoint. If that is rolled back, the call raises.

        Returns
        -------
        object
            ``result``.

        Raises
        ------
        IdempotencyTransactionError
            There is no such transaction, or it cannot be used. See its ``kind``.
        IdempotencyLeaseLostError
            The claim is lost. The transaction cannot be committed any more.
        IdempotencySerializationError
            ``result`` cannot be stored. Nothing was written.
        IdempotencyConfigError
            The layer cannot store records in a transaction, ``within`` is of an unknown kind, or this is
            called on an event loop: then await :meth:`acomplete`.
        Exception
            What the database raised.
        """
        client, steps = self._completion(result, within, savepoint=savepoint, asynchronous=False)
        if client.asynchronous:
            raise self._cannot("within is an async connection: use it in an async function")
        self._perform(steps)
        return result

    async def acomplete(self, result: Result, *, within: Any, savepoint: bool = False) -> Result:
        """Complete this attempt in a transaction, on an event loop. See :meth:`complete`.

        A thread of an async call, such as a blocking endpoint of FastAPI, calls :meth:`complete` instead.

        ``within`` may be an AsyncConnection of psycopg or SQLAlchemy, or an AsyncSession. A blocking
        connection blocks the event loop.
        """
        from ..drivers.asynchronous import drive_async  # noqa: PLC0415 - as in arenew

        _, steps = self._completion(result, within, savepoint=savepoint, asynchronous=True)
        await drive_async(steps, self._attempt.layer, observe=self._attempt.engine.observe)
        return result

    def completion_item(self, result: Any) -> dict[str, Any]:
        """Return the item that completes this attempt in a transaction of DynamoDB which you send.

        Add it to the ``TransactItems`` of a client's ``transact_write_items``, and pass :attr:`owner` as its
        ``ClientRequestToken``, so that the request can be sent again. The transaction is canceled if the
        claim is lost. Return ``result`` from the function, which raises if the transaction was not sent.

        Parameters
        ----------
        result
            What the function will return.

        Returns
        -------
        dict
            ``{"Put": …}``, in the format of boto3's client.

        Raises
        ------
        IdempotencyTransactionError
            The attempt has completed before, or its claim has no lease.
        IdempotencySerializationError, IdempotencyRecordTooLargeError
            ``result`` cannot be stored.
        IdempotencyConfigError
            The layer is not of DynamoDB, or the function is async: then await :meth:`acompletion_item`.
        """
        item, attempt = self._item_maker(asynchronous=False), self._attempt
        made: dict[str, Any] = self._perform(attempt.engine.item_steps(attempt, result, item))
        return made

    async def acompletion_item(self, result: Any) -> dict[str, Any]:
        """Return what :meth:`completion_item` returns, in an ``async def`` function."""
        from ..drivers.asynchronous import drive_async  # noqa: PLC0415 - as in arenew

        item, attempt = self._item_maker(asynchronous=True), self._attempt
        engine = attempt.engine
        made: dict[str, Any] = await drive_async(engine.item_steps(attempt, result, item), attempt.layer)
        return made

    def __repr__(self) -> str:
        return f"<the attempt {self.owner!r} on {self.key!r}>"

    @property
    def _claim(self) -> Record:
        attempt = self._attempt
        claim = attempt.held if attempt.renewal is None else attempt.renewal.claim
        assert claim is not None  # the body runs under it
        return claim

    def _completion(
        self, result: Any, within: Any, *, savepoint: bool, asynchronous: bool
    ) -> tuple[Client, Steps]:
        """Return the connection, and the steps that complete within its transaction."""
        attempt, engine = self._attempt, self._attempt.engine
        self._require_completable(asynchronous=asynchronous)
        records = records_of(attempt.layer)
        if records is None:
            raise self._cannot(
                f"{_name_of(attempt.layer)} keeps its records where no transaction of yours reaches them, or "
                "loads and swaps them in its own way. Use a layer over PostgreSQL, SQLAlchemy or SQLite or, "
                "with DynamoDB, completion_item()"
            )
        from ..backends.within_clients import client_of  # noqa: PLC0415 - loads sqlite3

        client = client_of(within)
        if client is None:
            raise self._cannot(
                "within must be a connection of sqlite3, psycopg 3 or Django, or a Connection or Session of "
                f"SQLAlchemy, not a {type(within).__module__}.{type(within).__qualname__}"
            )
        report = engine._report_of(attempt)
        steps = engine.complete_steps(attempt, result, client, records, report, savepoint=savepoint)
        return client, engine.timed(steps, attempt=attempt)

    def _item_maker(self, *, asynchronous: bool) -> Callable[[Record], dict[str, Any]]:
        self._require_completable(asynchronous=asynchronous)
        layer = self._attempt.layer
        maker: Callable[[Record], dict[str, Any]] | None = built_in(layer, "_completion_item")
        if maker is None:
            raise self._cannot(
                f"{_name_of(layer)} does not keep its records in DynamoDB as its base class does"
            )
        return maker

    def _require_completable(self, *, asynchronous: bool) -> None:
        """Raise unless the attempt may complete by itself, in this way of calling."""
        self._refuse_ended()
        attempt = self._attempt
        layer: Any = attempt.layer
        if attempt.execution is not None:
            raise self._cannot("it belongs to a durable execution, which runs its function again")
        if attempt.asks:
            raise self._cannot("on_takeover is still being asked. Return the result instead")
        if calls_methods(layer) or not attempt.engine._keeps_owners:
            raise self._cannot("its layer is used by its four methods, and stores no owner tokens")
        is_async = isinstance(layer, AsyncCompareAndSwapLayer)
        if is_async is not asynchronous and not (is_async and self._is_in_a_thread()):
            begins = "begins" if is_async else "does not begin"
            raise self._cannot(
                f"its function is {'' if is_async else 'not '}async: use the method that {begins} with an a"
            )

    def _is_in_a_thread(self) -> bool:
        """Return whether this is called in another thread than the event loop of an async call."""
        from ..drivers.other_threads import may_wait_for  # noqa: PLC0415 - as in arenew

        return may_wait_for(self._attempt.loop)

    def _perform(self, steps: Steps) -> Any:
        """Perform steps of a completion, and return their result."""
        attempt, observe = self._attempt, self._attempt.engine.observe
        layer: Any = attempt.layer
        if not isinstance(layer, AsyncCompareAndSwapLayer):
            return drive(steps, layer, observe=observe)
        from ..drivers.other_threads import drive_from_thread  # noqa: PLC0415 - as in arenew

        return drive_from_thread(steps, layer, attempt.loop, observe)

    def _cannot(self, why: str) -> IdempotencyError:
        return IdempotencyConfigError(
            f"The attempt on {self.key!r} cannot complete within a transaction: {why}. Nothing was written."
        )

    def _steps(self) -> Steps:
        engine = self._attempt.engine
        try:
            return (
                yield from engine.renew_steps(
                    engine.renewal_of(self._attempt), engine._report_of(self._attempt)
                )
            )
        except RunEndedError:
            raise self._loss(_ENDED) from None

    def _refuse_ended(self) -> None:
        if self.lost:
            raise self._loss(_LOST)
        attempt = self._attempt
        if attempt.returned or attempt.failure is not None:  # or a question was answered instead
            raise self._loss(_ENDED)

    def _layer(self, *, asynchronous: bool) -> Any:
        """Return the layer of the call, or raise if it cannot renew."""
        self._refuse_ended()
        attempt = self._attempt
        if attempt.execution is not None:
            raise self._refusal("its lease spans the whole durable execution, and needs no renewal")
        if attempt.completion is not None:  # whose transaction may have locked the record (TXN-4)
            raise IdempotencyLeaseLostError(
                f"The attempt on {self.key!r} has completed within a transaction, after which its lease is "
                "not renewed. Nothing was sent."
            )
        if not attempt.engine.can_renew(attempt):
            raise self._refusal(
                "it has no lease of its own, or its layer stores no owner tokens. Set "
                "in_progress_expires_after_seconds, and use a layer with _load and _swap"
            )
        layer: Any = attempt.layer
        is_async = isinstance(layer, AsyncCompareAndSwapLayer)
        if is_async is not asynchronous:
            instead = "await arenew()" if is_async else "call renew()"
            raise self._refusal(f"this is not how its function runs: {instead} instead")
        return layer

    def _judge(self, outcome: Any) -> None:
        if self.lost:
            raise self._loss(_LOST)
        if outcome is None:
            raise self._refusal(
                "its lease already lasts as long as max_run_seconds or the Lambda context allow"
            )

    def _refusal(self, why: str) -> IdempotencyError:
        return IdempotencyConfigError(
            f"The lease of {self.key!r} cannot be renewed: {why}. Nothing was sent."
        )

    def _loss(self, what: str) -> IdempotencyError:
        return IdempotencyLeaseLostError(
            f"The attempt on {self.key!r} {what}. Another attempt may run, or have run. The function has run "
            "up to here. Stop before further effects."
        )


def _name_of(layer: Any) -> str:
    return type(layer._layer if isinstance(layer, InThreads) else layer).__name__


def current_attempt() -> CurrentAttempt | None:
    """Return the attempt that runs the current function, or None outside of protected calls.

    Of nested calls, it is the innermost. Tasks inherit it; so do threads that run in a copy of the context,
    such as those of ``asyncio.to_thread``. A function that runs unprotected, because its call has no key or
    protection is switched off, has none.
    """
    attempt = running.body_here()
    return CurrentAttempt(attempt) if isinstance(attempt, Attempt) else None
