"""The core: run an operation once under a key that the caller names."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, Generic, TypeVar

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

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The answer of :meth:`Idempotency.run`.

    Parameters
    ----------
    value
        The result.
    replayed
        Whether it is the stored result of another attempt. If not, the body ran in this call.
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

    Raises
    ------
    TypeError
        A parameter has the wrong type.
    IdempotencyConfigError
        ``key_prefix`` is invalid, or ``config`` has an expression: there is no payload to select from.
    """

    def __init__(
        self,
        persistence_store: Layer,
        config: IdempotencyConfig | None = None,
        *,
        key_prefix: str | None = None,
        output_serializer: BaseIdempotencySerializer | None = None,
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
        engine = Engine(config, codec, keeps_owners=keeps_owners(persistence_store))
        self._core = Core(
            engine, config, persistence_store, self._prefix, "", key_prefix, lambda args, _: lambda: args[0]
        )
        self._codec = codec
        self._asking: Core | None = None
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
            A function without arguments. It is called instead of ``body`` if an earlier attempt may have done
            the operation, and returns its result, or `NOT_DONE`. None: as the configuration says.

        Raises
        ------
        TypeError
            ``body`` or ``on_takeover`` is ``async def``, or not a function.
        IdempotencyKeyError
            The key is invalid. Nothing ran.
        IdempotencyConfigError
            The layer is async. Nothing ran.
        IdempotencyError
            As for a decorated function.
        """
        if self._core.store is None:
            raise IdempotencyConfigError(
                f"{type(self._core.layer).__name__} is an async layer: await arun instead. Nothing ran."
            )
        for function in (body, on_takeover):
            if function is not None and is_async(function):
                raise TypeError(f"{name_of(function)} is async: await arun instead. Nothing ran.")
        refuse_renewal(self._config, self._core.layer, body)
        name = self._checked(key, body, payload_hash, on_takeover)
        if disabled():
            return Answer(body(), replayed=False, record=None)
        answered: list[Outcome] = []
        core = self._core if on_takeover is None else self._core_that_asks()
        value = core.call(
            name,
            payload_hash or None,
            lambda *_: body(),
            (key, on_takeover),
            function=body,
            answered=answered,
        )
        return _answer(value, answered[-1])

    async def arun(
        self,
        key: str,
        body: Callable[[], Awaitable[T]],
        *,
        payload_hash: str | None = None,
        on_takeover: Callable[[], Awaitable[T | NotDone] | T | NotDone] | None = None,
    ) -> Answer[T]:
        """Run ``body`` once for ``key`` on an event loop, over a blocking or an async layer.

        Parameters
        ----------
        key, payload_hash
            See :meth:`run`, also for the exceptions.
        body, on_takeover
            The functions to run. They are called without arguments, and an awaitable result is awaited.
        """
        name = self._checked(key, body, payload_hash, on_takeover)
        if disabled():
            return Answer(await _awaited(body), replayed=False, record=None)
        answered: list[Outcome] = []
        core = self._core if on_takeover is None else self._core_that_asks()
        value = await core.acall(
            name,
            payload_hash or None,
            lambda *_: _awaited(body),
            (key, on_takeover and partial(_awaited, on_takeover)),
            function=body,
            answered=answered,
        )
        return _answer(value, answered[-1])

    def _core_that_asks(self) -> Core:
        """Return the core of calls that ask before they repeat what another attempt may have done."""
        if self._asking is None:
            layer, engine = self._core.layer, self._core.engine
            asking = Engine(
                self._config, self._codec, keeps_owners=keeps_owners(layer), on_takeover=_put_the_question
            )
            self._asking = self._core.over(None, asking.standing_in(cache=engine.cache))
        return self._asking

    def _checked(self, key: str, body: Any, payload_hash: Any, on_takeover: Any) -> str:
        """Return the stored key, or raise an error before anything has run."""
        if not callable(body):
            raise TypeError(f"body must be a function without arguments, not {body!r}. Nothing ran.")
        if on_takeover is not None and not callable(on_takeover):
            raise TypeError(
                f"on_takeover must be a function without arguments or None, not {on_takeover!r}. Nothing ran."
            )
        if not isinstance(payload_hash, str | None):
            raise TypeError(f"payload_hash must be a text or None, not {payload_hash!r}. Nothing ran.")
        return self.stored_key(key)

    def _prefix(self) -> str:
        # Not when it is made: the environment may name the service later.
        return self._key_prefix or service_name(self._config.service) or ""


def records_of(persistence_store: Layer, config: IdempotencyConfig | None = None) -> Records:
    """Return the :class:`Records` of a layer, by stored keys."""
    return Records(Idempotency(persistence_store, config)._core)


def _put_the_question(_: str, question: Callable[[], Any]) -> Any:
    return question()


async def _awaited(body: Callable[[], Any]) -> Any:
    found = body()
    return await found if isawaitable(found) else found


def _answer(value: Any, outcome: Outcome) -> Answer[Any]:
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
