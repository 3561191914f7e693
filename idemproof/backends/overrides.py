"""Calls layers with overridden methods, and mocks of layers, through their methods as Powertools does.

A subclass of a compare-and-swap layer may override a method such as ``_put_record``. The engine then calls
it. If the override calls ``super()``, the layer's own method does a compare-and-swap for the owner of the
call, so the call stays fenced. If it does not, the layer is treated like a four-method layer.
"""

import copy
import functools
import inspect
import json
import logging
import sys
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

from ..drivers.interrupts import raise_interrupt
from ..spec.commands import CallMethod, Load, Steps, Swap
from ..spec.errors import (
    IdempotencyConfigError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyLeaseLostError,
)
from ..spec.record import COMPLETED, Record, execution_of, is_result
from ..spec.settle import Granted
from . import powertools_methods
from .doubles import is_double
from .housekeeping import callers_now
from .layer_settings import ACTIVE, Settings, Visit, visit_of
from .logs import log
from .names import NamesOnLayer
from .public_methods import DOCUMENTED, METHODS, REPLACED
from .records import DataRecord, checked_legacy

_BY_NAME = dict.fromkeys(DOCUMENTED, "data_record") | {"_get_record": "idempotency_key"}


def overridden(layer: Any, own: type) -> list[str]:
    """Return the methods of ``layer`` that differ from those of the class ``own``; all of them for a mock."""
    if is_double(layer):
        return list(METHODS)
    return [
        name
        for name in METHODS
        if name in getattr(layer, "__dict__", ())
        or (
            inspect.getattr_static(type(layer), name) is not inspect.getattr_static(own, name)
            and not (name in DOCUMENTED and getattr(getattr(own, name), "__isabstractmethod__", False))
        )
    ]


_FOR_TESTS = frozenset(("pytest", "unittest"))
"""If one of these modules is loaded, tests may replace methods on the class."""


def replaced_later(layer: Any, called: Callable[[], Any]) -> Callable[[], Any] | None:
    """Return a function that returns ``called()`` once a test has replaced methods of a layer, else None.

    Return None if this layer does not record replaced methods.
    """
    if is_double(layer) or not isinstance(layer, NamesOnLayer):
        return None
    kind, own, methods = type(layer), vars(layer), attrgetter(*METHODS)
    known = methods(kind)

    def look() -> Any:
        return called() if REPLACED in own else None

    def look_at_the_class_too() -> Any:
        return called() if REPLACED in own or methods(kind) != known else None

    # Comparing methods takes half a microsecond of each call, which only tests should pay.
    return look if _FOR_TESTS.isdisjoint(sys.modules) else look_at_the_class_too


# The layer's own four methods, which know the call in progress.


def put_record(layer: Any, record: Record | DataRecord) -> Steps:
    """Claim for the owner of the call in progress; outside of calls, as documented."""
    visit = visit_of(layer)
    if visit is None or visit.record is None:
        return powertools_methods.put_record(record, layer.clock())
    return _track(visit, powertools_methods.put_record(_with_owner(visit, record), visit.now))


def update_record(layer: Any, record: Record | DataRecord) -> Steps:
    """Complete for the owner of the call in progress; outside of calls, as documented."""
    visit = visit_of(layer)
    if visit is None or visit.record is None:
        return powertools_methods.update_record(record, layer.clock())
    return _track(visit, powertools_methods.update_record(_with_owner(visit, record), visit.now))


def delete_record(layer: Any, record: Record | DataRecord) -> Steps:
    """Release for the owner of the call in progress; outside of calls, as documented."""
    visit = visit_of(layer)
    if visit is None or visit.record is None:
        return powertools_methods.delete_record(record, layer.clock())
    return _track(visit, powertools_methods.delete_record(_with_owner(visit, record), visit.now))


def _with_owner(visit: Visit, record: Record | DataRecord) -> Record | DataRecord:
    # An override may have made another record, without the owner.
    assert visit.record is not None  # the callers have checked
    return record._replace(owner=record.owner or visit.record.owner)


def _track(visit: Visit, steps: Steps) -> Steps:
    """Perform ``steps`` and record what is stored; use the expected record instead of a first read."""
    visit.reached = True
    reply: Any = None
    error: BaseException | None = None
    while True:
        try:
            command = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as done:
            return done.value
        error = None
        if isinstance(command, Load) and visit.expected is not None:
            reply, visit.expected = visit.expected, None
            continue
        try:
            reply = yield command
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as failure:  # noqa: BLE001 - thrown into the steps
            reply, error = None, failure
        else:
            if isinstance(command, Swap):
                visit.stored = reply


class Methods:
    """A layer's methods for the drivers, called by keyword if the parameter has its documented name.

    With an async layer they return coroutines.

    Parameters
    ----------
    layer
        The layer.
    visit
        The visit that the methods see; None leaves the current one.
    """

    def __init__(self, layer: Any, visit: Visit | None = None) -> None:
        self._layer = layer
        self._visit = visit
        self.blocks: bool = bool(getattr(layer, "blocks", True))
        for method in DOCUMENTED:
            setattr(self, method, self._caller(method, _BY_NAME[method]))

    def _caller(self, method: str, name: str) -> Callable[[Any], Any]:
        """Return a function that calls one method, looked up each time because tests replace methods."""
        layer, visit = self._layer, self._visit
        of_a_record = name == "data_record"
        see, forget = ACTIVE.set, ACTIVE.reset
        known: Any = None
        by_name = False

        def call(argument: Any) -> Any:
            nonlocal known, by_name
            found = getattr(layer, method)
            function = getattr(found, "__func__", found)
            if function is not known:
                by_name = _takes(function, name)
                known = function
            if visit is None:
                return found(**{name: argument}) if by_name else found(argument)
            token = see(visit)
            try:
                if not by_name:
                    return found(argument)
                if of_a_record:  # the usual case, without a dictionary for the name
                    return found(data_record=argument)
                return found(idempotency_key=argument)
            finally:
                forget(token)

        return call

    def _visit_by(self, call: tuple[Visit, str, dict[str, Any]]) -> Any:
        visit, method, arguments = call
        token = ACTIVE.set(visit)
        try:
            if method in DOCUMENTED:
                return getattr(self, method)(*arguments.values())
            return getattr(self._layer, method)(**arguments)
        finally:
            ACTIVE.reset(token)


class AsyncMethods(Methods):
    """:class:`Methods` of an async layer: its coroutines see the visit until they end."""

    def _caller(self, method: str, name: str) -> Callable[[Any], Any]:
        visit, self._visit = self._visit, None
        call = super()._caller(method, name)
        self._visit = visit
        if visit is None:
            return call

        async def seeing(argument: Any) -> Any:
            token = ACTIVE.set(visit)
            try:
                return await call(argument)
            finally:
                ACTIVE.reset(token)

        return seeing

    async def _visit_by(self, call: tuple[Visit, str, dict[str, Any]]) -> Any:
        token = ACTIVE.set(call[0])
        try:
            return await super()._visit_by(call)
        finally:
            ACTIVE.reset(token)


@functools.lru_cache(maxsize=1024)
def _takes(method: Any, name: str) -> bool:
    """Return whether a method accepts its argument as the keyword ``name``."""
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False
    found = parameters.get(name)
    if found is not None:
        return found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [parameter for parameter in parameters.values() if parameter.kind in positional]
    any_place = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters.values())
    any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return any_name and not any_place and len(places) <= 1  # one is the layer itself


def _copy(payload: Any) -> Any:
    # As in Powertools: if the body changes its event, the layer still gets the original.
    try:
        return copy.deepcopy(payload)
    except Exception as error:  # noqa: BLE001 - not every object can be copied
        raise_interrupt(error)
        return payload


def _call_method(visit: Visit, method: str, **arguments: Any) -> CallMethod:
    return CallMethod("_visit_by", (visit, method, arguments))


class CallOfMethods:
    """One call of a function over a layer whose public methods must be called.

    Parameters
    ----------
    layer
        The layer, blocking or async, or a mock of one.
    settings
        The settings of the function.
    payload
        Returns the payload as plain data.
    fenced
        Whether the layer's own methods use compare-and-swap.
    """

    def __init__(self, layer: Any, settings: Settings, payload: Callable[[], Any], *, fenced: bool) -> None:
        self._layer = layer
        self._settings = settings
        self._payload = functools.cache(lambda: _copy(payload()))
        self._fenced = fenced
        # An override of _get_record must be called, even if a refused claim has returned the record.
        own = getattr(type(layer), "_get_record", None)
        self._reads_itself = (
            fenced and getattr(own, "__module__", __package__).rpartition(".")[0] != __package__
        )
        self._claimed: Record | None = None
        self.failure: BaseException | None = None
        """The exception that the body raised."""

    def load(self, key: str) -> Steps:
        """Return the stored record of ``key``, or None."""
        return (yield from powertools_methods.load(key))

    def swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Steps:
        """Replace ``expected`` with ``new`` by the method that does this in Powertools."""
        if new is None:
            return (yield from self._release(key, expected))
        now = callers_now(new, ttl_ms)
        if new.status == COMPLETED:
            return (yield from self._complete(key, expected, new, now))
        visit = self._visit(new, None, now)
        lease = new.in_progress_expiry_timestamp
        try:
            yield _call_method(
                visit,
                "save_inprogress",
                data=self._payload(),
                remaining_time_in_millis=None if lease is None else lease - now,
            )
        except IdempotencyItemAlreadyExistsError as exists:
            if not self._reads_itself:
                visit.known = exists.old_data_record
            try:
                found = yield _call_method(visit, "get_record", data=self._payload())
            except IdempotencyItemNotFoundError:
                return None
            return checked_legacy(exists.old_data_record if found is None else found, key)
        assert visit.record is not None  # it was made above
        self._claimed = None if visit.reached else visit.record.as_record()
        if visit.reached:
            return visit.stored
        if self._fenced and not is_double(self._layer):
            if execution_of(new.owner) is not None:
                raise IdempotencyConfigError(
                    f"{type(self._layer).__name__}._put_record does not call the method that it overrides, "
                    f"so the claim on {key!r} has no owner token, and its durable execution could not "
                    "resume. The function did not run. Call super()._put_record(data_record) in it."
                )
            self._warn("_put_record")
        return new

    def _complete(self, key: str, expected: Record | None, new: Record, now: int) -> Steps:
        visit = self._visit(new, expected, now)
        assert visit.record is not None  # it was made above
        try:
            if not is_result(new.response_data):  # there is no result to pass to save_success
                yield _call_method(visit, "_update_record", data_record=visit.record)
            else:
                result = None if new.response_data is None else json.loads(new.response_data)
                yield _call_method(visit, "save_success", data=self._payload(), result=result)
        except IdempotencyLeaseLostError:
            return (yield from powertools_methods.load(key))
        stored = visit.stored
        if stored is None or (stored.status == COMPLETED and stored.owner == visit.record.owner):
            return new  # an override may have changed its text
        return stored

    def _release(self, key: str, expected: Record | None) -> Steps:
        claim = self._claimed or expected
        if claim is None:
            return (yield from powertools_methods.load(key))
        if not self._fenced and not is_double(self._layer):
            # A deletion cannot be undone, so read first, as for every four-method layer.
            found = yield from powertools_methods.load(key)
            own = claim
            if self._claimed is not None:  # otherwise no method has confirmed that it wrote the claim
                own = granted = Granted(*claim)
                granted.as_left = DataRecord.of(claim)
            if not powertools_methods.may_be_the_claim(found, own):
                return found
        visit = self._visit(claim, expected, 0)
        try:
            yield _call_method(visit, "delete_record", data=self._payload(), exception=self.failure)
        except IdempotencyLeaseLostError:
            return (yield from powertools_methods.load(key))
        return None

    def _visit(self, record: Record, expected: Record | None, now: int) -> Visit:
        # A claim that was not written by the layer's own method has no owner in the store (CAS-9).
        owner = record.owner if self._claimed is None else None
        carried = DataRecord.of(record._replace(owner=owner))
        return Visit(self._layer, self._settings, carried, expected, now)

    def _warn(self, method: str) -> None:
        log(
            logging.WARNING,
            "%s.%s does not call the method that it overrides, so its records are not fenced. A call that "
            "outlives its lease may overwrite the record of another. Call super().%s(data_record) in it.",
            type(self._layer).__name__,
            method,
            method,
        )

    def body(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` wrapped so that the exception it raises is recorded."""
        return partial(self._run, function)

    def _run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as failure:
            self.failure = failure
            raise

    def async_body(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return an async ``function`` wrapped so that the exception it raises is recorded."""
        return partial(self._run_async, function)

    async def _run_async(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except BaseException as failure:
            self.failure = failure
            raise
