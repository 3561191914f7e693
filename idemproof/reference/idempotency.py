"""The core: run an operation once under a key that the caller names."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..backends.base import keeps_owners
from ..spec.errors import IdempotencyConfigError
from ..spec.events import Outcome, Replay, Superseded
from ..spec.record import Record
from .config import IdempotencyConfig
from .core import Core, Layer, require_layer_and_config
from .engine import Engine
from .functions import is_async, name_of
from .not_done import NotDone
from .prefixes import service_name
from .protection import disabled
from .records import Records, checked_key
from .renewal import refuse_renewal
from .results.codec import Codec
from .serialization import BaseIdempotencySerializer
from .takeover import require_plain_question, require_question

if TYPE_CHECKING:
    from .early import EarlyEnd

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The answer of :meth:`Idempotency.run`.

    Parameters
    ----------
    value
        The result.
    replayed
        Whether it is the stored result of another attempt. If not, the body ran in this call, or on_takeover
        has found the result.
    record
        The stored record with the result; None if idempotency is switched off.
    """

    value: T
    replayed: bool
    record: Record | None


class Idempotency:
    """Runs an operation once for each key. The caller names the key.

    A key is a string. The stored key begins with ``key_prefix`` and ``#``. Without a prefix, it begins with
    the name of the service and ``#``, if there is one (``service``, ``IDEMPROOF_SERVICE``). It never contains
    the name of the Lambda function.

    Parameters
    ----------
    persistence_store
        The store of the records. Several functions may share it.
    config
        The settings, such as the window, the lease and the observers. By default, each has its default.
    key_prefix
        The prefix of stored keys, instead of the name of the service.
    output_serializer
        Converts results to JSON data and back. Without one, all callers get plain JSON values.
    on_takeover
        A function that finds out whether the operation of a key has happened. It is called with the key, as
        the caller names it, when the lease of another attempt has ended. It returns the result (which is
        stored and returned), returns :data:`NOT_DONE` if nothing was done and nothing will be done any more
        (then the body runs), or raises if it cannot tell. It replaces the ``on_takeover`` of the
        configuration. :meth:`run` and :meth:`arun` take one for a single call, too.

    Raises
    ------
    TypeError
        A parameter has the wrong type.
    IdempotencyConfigError
        ``key_prefix`` is invalid, or ``config`` has an expression: there is no payload to select from. Or
        ``on_takeover`` does not take a key, or the layer stores no owner tokens.
    """

    def __init__(
        self,
        persistence_store: Layer,
        config: IdempotencyConfig | None = None,
        *,
        key_prefix: str | None = None,
        output_serializer: BaseIdempotencySerializer | None = None,
        on_takeover: Callable[[str], Any] | None = None,
    ) -> None:
        require_layer_and_config(persistence_store, config)
        self._config = config = IdempotencyConfig() if config is None else config
        _refuse_expressions(config)
        if key_prefix is not None and (not isinstance(key_prefix, str) or not key_prefix):
            raise IdempotencyConfigError(f"key_prefix must be a text that is not empty, not {key_prefix!r}.")
        if not isinstance(output_serializer, BaseIdempotencySerializer | None):
            raise TypeError(
                f"output_serializer must be an instance of a serializer, not {output_serializer!r}: no "
                "return annotation names its model here."
            )
        for direction in ("to_dict", "from_dict"):
            if output_serializer is not None and is_async(getattr(output_serializer, direction)):
                raise TypeError(
                    f"{direction} of {output_serializer!r} is async: it is called, and not awaited."
                )
        self._key_prefix = key_prefix
        codec: Any = Codec(output_serializer, None, config.result_check)
        codec.prepare()
        if on_takeover is not None:
            require_question(on_takeover, "key")
        self._on_takeover = on_takeover
        engine = Engine(
            config,
            codec,
            keeps_owners=keeps_owners(persistence_store),
            on_takeover=None if on_takeover is None else _ask,
        )
        self._core = Core(
            engine, config, persistence_store, self._prefix, "", key_prefix, lambda args, _: lambda: args[0]
        )
        self._asking_core = None if on_takeover is None else self._core
        self.records = Records(self._core, self.stored_key)
        """Reads and changes records, by the same keys."""

    def stored_key(self, key: str) -> str:
        """Return the key under which the record of ``key`` is stored.

        Raises
        ------
        IdempotencyKeyError
            The key is not a string, is empty, or cannot be encoded as UTF-8.
        """
        name, prefix = checked_key(key), self._prefix()
        return f"{prefix}#{name}" if prefix else name

    def run(
        self,
        key: str,
        body: Callable[[], T],
        *,
        payload_hash: str | None = None,
        on_takeover: Callable[[], T | NotDone] | None = None,
    ) -> Answer[T]:
        """Run ``body`` once for ``key``, and return the stored result for repeats.

        Parameters
        ----------
        key
            The idempotency key, which names the operation.
        body
            The function to run. It is called without arguments.
        payload_hash
            A hash of the payload. A call with the same key and another hash is refused. None: no check.
        on_takeover
            A function without arguments that finds out whether the operation has happened, as in the
            constructor. It replaces that one for this call.

        Raises
        ------
        TypeError
            ``body`` is ``async def``, or not a function.
        IdempotencyKeyError
            The key is invalid. Nothing ran.
        IdempotencyConfigError
            The layer is async, or ``on_takeover`` does not fit the body or the layer. Nothing ran.
        IdempotencyError
            As for a decorated function.
        """
        if self._core.store is None:
            raise IdempotencyConfigError(
                f"{type(self._core.layer).__name__} is an async layer: await arun instead. Nothing ran."
            )
        if is_async(body):
            raise TypeError(f"{name_of(body)} is async: await arun instead. Nothing ran.")
        refuse_renewal(self._config, self._core.layer, body)
        name = self._checked(key, body, payload_hash)
        ask = self._question(key, on_takeover, is_plain=True)
        if disabled():
            return Answer(body(), replayed=False, record=None)
        answered: list[Outcome] = []
        value = self._core_for(ask).call(
            name, payload_hash or None, lambda *_: body(), (key, ask), function=body, answered=answered
        )
        return answer_of(value, answered[-1])

    async def arun(
        self,
        key: str,
        body: Callable[[], Awaitable[T]],
        *,
        payload_hash: str | None = None,
        on_takeover: Callable[[], Awaitable[T | NotDone] | T | NotDone] | None = None,
        early: "EarlyEnd | None" = None,
    ) -> Answer[T]:
        """Run ``body`` once for ``key`` on an event loop, over a blocking or an async layer.

        Parameters
        ----------
        key, payload_hash
            See :meth:`run`, also for the exceptions.
        body
            The function to run. It is called without arguments, and an awaitable result is awaited.
        on_takeover
            As for :meth:`run`. An awaitable answer is awaited.
        early
            For the middlewares: ends the call before ``body`` has ended.
        """
        name = self._checked(key, body, payload_hash)
        ask = self._question(key, on_takeover, is_plain=False)
        if disabled():
            return Answer(await _awaited(body), replayed=False, record=None)
        answered: list[Outcome] = []
        value = await self._core_for(ask).acall(
            name,
            payload_hash or None,
            lambda *_: _awaited(body),
            (key, None if ask is None else lambda: _awaited(ask)),
            function=body,
            answered=answered,
            early=early,
        )
        if early is not None and early.answer is not None:
            return early.answer
        return answer_of(value, answered[-1])

    def _question(self, key: str, on_takeover: Any, *, is_plain: bool) -> Callable[[], Any] | None:
        """Return what is asked in a call, or None; raise an error if the call cannot ask it."""
        asked = self._on_takeover if on_takeover is None else on_takeover
        if asked is None:
            return None
        if is_plain:
            require_plain_question(asked)
        if on_takeover is None:
            return partial(asked, key)
        require_question(on_takeover)
        return on_takeover  # type: ignore[no-any-return]

    def _core_for(self, ask: Callable[[], Any] | None) -> Core:
        """Return the core that asks, or the one that does as the configuration says."""
        if ask is None:
            return self._core
        if self._asking_core is None:
            self._asking_core = self._core.over(None, self._core.engine.asking(_ask))
        return self._asking_core

    def _checked(self, key: str, body: Any, payload_hash: Any) -> str:
        """Return the stored key, or raise an error before anything has run."""
        if not callable(body):
            raise TypeError(f"body must be a function without arguments, not {body!r}. Nothing ran.")
        if not isinstance(payload_hash, str | None):
            raise TypeError(f"payload_hash must be a text or None, not {payload_hash!r}. Nothing ran.")
        return self.stored_key(key)

    def _prefix(self) -> str:
        # Not when it is made: the environment may name the service later.
        return self._key_prefix or service_name(self._config.service) or ""


def records_of(persistence_store: Layer, config: IdempotencyConfig | None = None) -> Records:
    """Return the :class:`Records` of a layer, by stored keys."""
    return Records(Idempotency(persistence_store, config)._core)


def _ask(_key: str, ask: Callable[[], Any]) -> Any:
    """Ask the question of a call: an engine calls it with the arguments of the call."""
    return ask()


async def _awaited(body: Callable[[], Any]) -> Any:
    found = body()
    return await found if isawaitable(found) else found


def answer_of(value: Any, outcome: Outcome) -> Answer[Any]:
    """Return the answer of a call with this value and outcome."""
    replayed = isinstance(outcome, Replay | Superseded)
    return Answer(value, replayed, getattr(outcome, "record", None))


def _refuse_expressions(config: IdempotencyConfig) -> None:
    for name in ("event_key_jmespath", "payload_validation_jmespath"):
        expression = getattr(config, name)
        if expression:
            raise IdempotencyConfigError(
                f"{name}={expression!r} selects from a payload, and here the caller names the key and the "
                "payload hash. Leave it out."
            )
