"""Makes calls, for the decorators, :class:`Idempotency` and operators."""

import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..backends.base import (
    AsyncBasePersistenceLayer,
    AsyncCompareAndSwapLayer,
    BasePersistenceLayer,
    CompareAndSwapLayer,
    async_compare_and_swap,
    compare_and_swap,
)
from ..backends.called_layers import CalledByMethods, called_by_methods
from ..backends.doubles import is_double
from ..backends.layer_settings import begin_to_serve
from ..backends.overrides import replaced_later
from ..drivers.blocking import NOTHING, drive
from ..spec.commands import Steps
from ..spec.errors import IdempotencyConfigError
from ..spec.events import RUN, Outcome
from .config import IdempotencyConfig
from .durable import SDK, current
from .engine import Engine
from .layer_settings import LayerSettings
from .observers import shared
from .renewal import refuse_renewal

if TYPE_CHECKING:
    from .early import EarlyEnd

Layer = BasePersistenceLayer | AsyncBasePersistenceLayer
Payload = Callable[[tuple[Any, ...], Mapping[str, Any]], Callable[[], Any]]


def require_layer_and_config(layer: Any, config: Any) -> None:
    """Raise ``TypeError`` unless the layer is a persistence layer, and the configuration is one or None."""
    if not isinstance(layer, Layer) and not is_double(layer):
        raise TypeError(f"persistence_store must be a persistence layer, not {layer!r}.{_hint_on(layer)}")
    if not isinstance(config, IdempotencyConfig | None):
        raise TypeError(f"config must be an idemproof.IdempotencyConfig, not {config!r}.{_hint_on(config)}")


def _hint_on(misfit: Any) -> str:
    if isinstance(misfit, type):
        return " Pass an instance, not the class."
    if type(misfit).__module__.startswith("aws_lambda_powertools"):
        return " Import it from idemproof: the names and parameters are the same."
    return ""


class Core:
    """Makes calls with one engine, over one layer.

    Parameters
    ----------
    engine
        The engine.
    config
        Its configuration.
    layer
        The layer, blocking or async.
    prefix
        Returns the prefix of the keys, for layers that need it.
    function_name, key_prefix
        The arguments for the layer's ``configure``.
    payload
        Returns a function that computes the data for a layer's public methods in a call with these arguments.
    """

    stand_in: ClassVar[Callable[["Core"], "Core"] | None] = None
    """For tests: returns the core that makes the calls instead of a given one."""

    __slots__ = (
        "_async_store",
        "_by_methods",
        "_config",
        "_named",
        "_payload",
        "_settings",
        "engine",
        "layer",
        "store",
    )

    def __init__(
        self,
        engine: Engine,
        config: IdempotencyConfig,
        layer: Layer,
        prefix: Callable[[], str],
        function_name: str,
        key_prefix: str | None,
        payload: Payload,
    ) -> None:
        refuse_renewal(config, layer)
        self.engine = engine
        self.layer = layer
        self._config = config
        self._named = function_name, key_prefix
        self._payload = payload
        self._settings = settings = LayerSettings(config, prefix)
        if called_by_methods(layer):
            self._refuse_policy(engine)
        self._by_methods = self._serve(layer, settings)
        self.store: CompareAndSwapLayer | None = None
        if not isinstance(layer, AsyncBasePersistenceLayer):
            self.store = compare_and_swap(layer, settings)
        self._async_store: AsyncCompareAndSwapLayer | None = None

    def call(
        self,
        key: str,
        payload_hash: str | None,
        body: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = NOTHING,
        context: Any = None,
        function: Callable[..., Any] | None = None,
        answered: list[Outcome] | None = None,
    ) -> Any:
        """Make a blocking call, and return its answer.

        Parameters
        ----------
        key, payload_hash
            The idempotency key, and the hash of the payload or None.
        body, args, kwargs
            The function to run, and its arguments.
        context
            The AWS Lambda context of the call, or None.
        function, answered
            See :meth:`Engine.steps`.
        """
        core, steps, by = self._begin(key, payload_hash, args, kwargs, context, function, answered)
        if by is None:
            return drive(steps, core.store, body, args, kwargs, core.engine.observe)
        call, store = by.call(core._payload(args, kwargs))
        return drive(steps, store, call.body(body), args, kwargs, core.engine.observe)

    def _begin(
        self,
        key: str,
        payload_hash: str | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: Any,
        function: Callable[..., Any] | None,
        answered: list[Outcome] | None,
    ) -> "tuple[Core, Steps, CalledByMethods | None]":
        """Return the core that makes the call, its steps, and the layer's public methods, if used."""
        stand_in = Core.stand_in  # once: a test may end meanwhile
        core = self if stand_in is None else stand_in(self)
        execution = current(args, kwargs) if SDK in sys.modules else None
        engine, by = core.engine, None
        if core._by_methods is not None and (by := core._by_methods()) is not None:
            # A test may have replaced the methods since, and none of them is for a renewal.
            core._refuse_policy(engine)
            if core._config.renew_lease:
                engine = engine.standing_in(renews=False)
        steps = engine.steps(key, payload_hash, context, execution, function, answered)
        if shared.requests:
            steps = engine.timed(steps, function)
        return core, steps, by

    def acall(
        self,
        key: str,
        payload_hash: str | None,
        body: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = NOTHING,
        context: Any = None,
        function: Callable[..., Any] | None = None,
        answered: list[Outcome] | None = None,
        early: "EarlyEnd | None" = None,
    ) -> Coroutine[Any, Any, Any]:
        """Make an async call. See :meth:`call`; the body is ``async def``, and ``early`` may end it."""
        from ..drivers.asynchronous import drive_async  # noqa: PLC0415 - blocking programs never need asyncio

        core, steps, by = self._begin(key, payload_hash, args, kwargs, context, function, answered)
        store: Any
        if by is None:
            store = core.async_store
        else:
            call, store = by.async_call(core._payload(args, kwargs))
            body = call.async_body(body)
        if early is not None:
            early.may_end(steps, store, core.engine.observe)
        return drive_async(steps, store, body, args, kwargs, core.engine.observe)

    def perform(self, steps: Callable[[Engine], Steps]) -> Any:
        """Perform an operator's change or read, and return its result."""
        stand_in = Core.stand_in
        core = self if stand_in is None else stand_in(self)
        if core.store is None:
            raise IdempotencyConfigError(
                f"{type(core.layer).__name__} is an async layer, so its records are awaited: call the method "
                "that begins with an a, such as ainspect. Nothing was asked."
            )
        return drive(core.engine.timed(steps(core.engine)), core.store, observe=core.engine.observe)

    async def aperform(self, steps: Callable[[Engine], Steps]) -> Any:
        """Perform an operator's change or read on an event loop."""
        from ..drivers.asynchronous import drive_async  # noqa: PLC0415 - as in acall

        stand_in = Core.stand_in
        core = self if stand_in is None else stand_in(self)
        timed = core.engine.timed(steps(core.engine))
        return await drive_async(timed, core.async_store, observe=core.engine.observe)

    def over(self, layer: CompareAndSwapLayer | None, engine: Engine) -> Self:
        """Return a core for the same calls with another engine, and another layer if one is given."""
        other = type(self).__new__(type(self))
        for name in Core.__slots__:
            setattr(other, name, getattr(self, name))
        other.engine = engine
        if layer is not None:
            other.layer = other.store = layer
            other._async_store = other._by_methods = None
        return other

    @property
    def async_store(self) -> AsyncCompareAndSwapLayer:
        """The store of async calls."""
        if self._async_store is None:
            self._async_store = async_compare_and_swap(self.layer, self._settings)
        return self._async_store

    def _serve(self, layer: Any, settings: LayerSettings) -> Callable[[], CalledByMethods | None] | None:
        """Prepare ``layer`` for the calls.

        Return a function that returns, for each call, the layer's public methods if they are overridden or
        replaced in a test. Return None if that cannot be.
        """
        if not is_double(layer):
            self._refuse_lost_interrupts(layer)
            begin_to_serve(layer, settings)
        called = CalledByMethods(layer, settings, self._configure)
        if called_by_methods(layer):
            return lambda: called
        return replaced_later(layer, lambda: called)

    def _refuse_policy(self, engine: Engine) -> None:
        if engine.policy != RUN:
            raise IdempotencyConfigError(
                f"on_takeover does not work with {type(self.layer).__name__}, whose documented methods are "
                "overridden or replaced: they know nothing of it, and take over by themselves. Nothing ran. "
                'Override _load and _swap instead, or leave on_takeover at "run".'
            )

    def _refuse_lost_interrupts(self, layer: Any) -> None:
        for kind in self._config.interrupts:
            if layer._loses(kind):
                raise IdempotencyConfigError(
                    f"interrupts has {kind.__name__}, which the client of {layer!r} would take for a failure "
                    "of its own: it tries again, and the interrupt is lost. Make the client without "
                    "retries, let the layer make it, or give a class that is not derived from OSError."
                )

    def _configure(self) -> None:
        name, key_prefix = self._named
        layer: Any = self.layer
        layer.configure(config=self._config, function_name=name, key_prefix=key_prefix)
