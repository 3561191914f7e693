"""``f.idempotency``: the records of a protected function, by the arguments of its calls."""

import functools
import inspect
from collections.abc import Iterator
from typing import Any, Generic, ParamSpec

from ..spec.errors import IdempotencyArgumentError
from ..spec.record import Record
from .core import Core
from .functions import name_of, parameters_of
from .plan import Plan
from .records import Records

P = ParamSpec("P")


class Operations(Generic[P]):
    """The records of one protected function, found by the arguments of its calls.

    Pass the arguments as in a call through the instance or class: ``shop.pay.idempotency.key(order)`` returns
    the key of ``shop.pay(order)``. You may pass the instance first, and must do so if the key depends on it.

    The methods that begin with ``a`` are coroutines. Every function has both kinds of methods, ``async def``
    or not. Over an async layer, the blocking methods raise :class:`IdempotencyConfigError`.

    Parameters
    ----------
    core
        Makes the requests to the store.
    plan
        Derives the keys.
    function
        The decorated function.
    """

    def __init__(self, core: Core, plan: Plan, function: Any) -> None:
        self.core = core
        self.records = Records(core)
        """The same operations by key, as :meth:`key` returns it."""
        self._plan = plan.insisting()
        self._function = function
        self._names = parameters_of(function)
        self._is_method = bool(self._names) and self._names[0] in ("self", "cls")

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the idempotency key of a call with these arguments.

        Raises
        ------
        IdempotencyKeyError
            The call has no key.
        """
        return self._operation(args, kwargs)[0]

    def _operation(self, given: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str | None]:
        """Return the key and the payload hash of a call."""
        if self._is_method and not self._has_instance(given, kwargs):
            given = (_NoInstance(self._function), *given)  # as a bound method does
        name, payload_hash = self._plan.key(given, kwargs)
        assert name is not None  # the plan insists
        return name, payload_hash

    def inspect(self, /, *args: P.args, **kwargs: P.kwargs) -> Record | None:
        """Return the stored record of a call with these arguments, even if it has expired; None without one.

        Raises
        ------
        IdempotencyKeyError, IdempotencyPersistenceLayerError
            The call has no key, or the store failed.
        """
        return self.records.inspect(self.key(*args, **kwargs))

    async def ainspect(self, /, *args: P.args, **kwargs: P.kwargs) -> Record | None:
        """Return the record of a call with these arguments, as :meth:`inspect` does."""
        return await self.records.ainspect(self.key(*args, **kwargs))

    def forget(self, /, *args: Any, even_in_progress: bool = False, **kwargs: Any) -> Record | None:
        """Delete the record of a call with these arguments; return it, or None if there was none.

        Parameters
        ----------
        even_in_progress
            Also delete a claim whose lease has not ended. See also :meth:`Records.forget`.
        """
        self._refuse_parameter("even_in_progress")
        return self.records.forget(self.key(*args, **kwargs), even_in_progress=even_in_progress)

    async def aforget(self, /, *args: Any, even_in_progress: bool = False, **kwargs: Any) -> Record | None:
        """Delete the record of a call with these arguments, as :meth:`forget` does."""
        self._refuse_parameter("even_in_progress")
        return await self.records.aforget(self.key(*args, **kwargs), even_in_progress=even_in_progress)

    def resolve(self, /, *args: Any, result: Any, **kwargs: Any) -> Record:
        """Store the result of a call with these arguments that is stuck in progress, and return its record.

        Parameters
        ----------
        result
            The result, as the function would return it. See :meth:`Records.resolve`, also for the exceptions.
        """
        self._refuse_parameter("result")
        name, payload_hash = self._operation(args, kwargs)
        return self.records.resolve(name, result, payload_hash=payload_hash)

    async def aresolve(self, /, *args: Any, result: Any, **kwargs: Any) -> Record:
        """Store the result of a call with these arguments, as :meth:`resolve` does."""
        self._refuse_parameter("result")
        name, payload_hash = self._operation(args, kwargs)
        return await self.records.aresolve(name, result, payload_hash=payload_hash)

    def _refuse_parameter(self, name: str) -> None:
        if name in self._names:
            raise IdempotencyArgumentError(
                f"{name_of(self._function)}() has a parameter {name!r} itself, which makes this ambiguous. "
                "Nothing changed. Use .idempotency.key(...), and .idempotency.records with that key."
            )

    def _has_instance(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Return whether the first argument is the instance or class, which has the method."""
        if self._names[0] in kwargs:
            return True
        if not args:
            return False
        first = args[0]
        name = str(getattr(self._function, "__name__", ""))
        owners = (first, type(first)) if inspect.isclass(first) else (type(first),)
        return any(
            getattr(each, "idempotency", None) is self
            for owner in owners
            for each in _unwrapped(inspect.getattr_static(owner, name, None))
        )


class _NoInstance:
    """A placeholder for the instance of a method whose key should not depend on it."""

    def __init__(self, function: Any) -> None:
        self.__function = name_of(function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"the key of {self.__function}() depends on {name!r} of its instance: give the instance first"
        )


def operations_of(function: Any) -> Operations[...]:
    """Return the operations of a protected function, also through decorators and partials around it.

    Raises
    ------
    TypeError
        The function is not protected.
    """
    for each in _unwrapped(function):
        operations = getattr(each, "idempotency", None)
        if isinstance(operations, Operations):
            return operations
    raise TypeError(
        f"{name_of(function)} is not idempotent: decorate it with @idempotent or @idempotent_function, "
        "and give the decorated function."
    )


def _unwrapped(function: Any) -> Iterator[Any]:
    """Yield a function and what it wraps, one after the other."""
    seen: list[Any] = []
    while function is not None and not any(each is function for each in seen):
        seen.append(function)
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        else:
            function = getattr(function, "__wrapped__", None)
