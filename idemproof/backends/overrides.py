"""Layers whose documented or public methods are overridden, and mocks of layers: called as Powertools does.

A subclass of a compare-and-swap layer that overrides ``_put_record``, say, is called by its methods. Where
these reach the layer's own, what they ask for is a compare-and-swap for the call's owner, so it stays fenced.
Where they do without it, the layer is trusted as one of four methods is.
"""

import copy
import functools
import inspect
import json
import logging
import sys
from collections.abc import Callable, Generator
from functools import partial
from operator import attrgetter
from typing import Any

from ..drivers.interrupts import raise_interrupt
from ..spec.commands import Command, Invoke, Load, Swap
from ..spec.errors import (
    IdempotencyConfigError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyLeaseLostError,
)
from ..spec.record import COMPLETED, RESULT_UNAVAILABLE, Record, execution_of
from ..spec.settle import Granted
from . import powertools_methods
from .doubles import is_double
from .housekeeping import callers_now
from .layer_settings import ACTIVE, Settings, Visit, visit_of
from .logs import log
from .names import NamesOnLayer
from .public_methods import DOCUMENTED, METHODS, REPLACED
from .records import DataRecord, checked_legacy

Steps = Generator[Command, Any, Any]

_BY_NAME = dict.fromkeys(DOCUMENTED, "data_record") | {"_get_record": "idempotency_key"}


def overridden(layer: Any, own: type) -> list[str]:
    """Return which methods of ``layer`` are not those of the class ``own``; all of them for a mock."""
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
"""Where one of these is loaded, methods may be replaced on the class."""


def replaced_later(layer: Any, called: Callable[[], Any]) -> Callable[[], Any] | None:
    """Return what gives ``called()`` once a test has replaced methods of a layer, and None before.

    None if nothing can tell of that layer.
    """
    if is_double(layer) or not isinstance(layer, NamesOnLayer):
        return None
    kind, own, methods = type(layer), vars(layer), attrgetter(*METHODS)
    known = methods(kind)

    def look() -> Any:
        return called() if REPLACED in own else None

    def look_at_the_class_too() -> Any:
        return called() if REPLACED in own or methods(kind) != known else None

    # Comparing methods takes half a microsecond of each call: production need not pay for tests.
    return look if _FOR_TESTS.isdisjoint(sys.modules) else look_at_the_class_too


# What the own methods of a compare-and-swap layer do while a call visits it.


def put_record(layer: Any, record: Record | DataRecord) -> Steps:
    """Claim for the owner of the call in progress, or as documented."""
    visit = visit_of(layer)
    if visit is None or visit.record is None:
        return powertools_methods.put_record(record, layer.clock())
    return _noting(visit, powertools_methods.put_record(_for_its_owner(visit, record), visit.now))


def update_record(layer: Any, record: Record | DataRecord) -> Steps:
    """Complete for the owner of the call in progress, or as documented."""
    visit = visit_of(layer)
    if visit is None or visit.record is None:
        return powertools_methods.update_record(record, layer.clock())
    return _noting(visit, powertools_methods.update_record(_for_its_owner(visit, record), visit.now))


def delete_record(layer: Any, record: Record | DataRecord) -> Steps:
    """Release for the owner of the call in progress, or as documented."""
    visit = visit_of(layer)
    if visit is None or visit.record is None:
        return powertools_methods.delete_record(record, layer.clock())
    return _noting(visit, powertools_methods.delete_record(_for_its_owner(visit, record), visit.now))


def _for_its_owner(visit: Visit, record: Record | DataRecord) -> Record | DataRecord:
    # An override may have made a record of its own.
    assert visit.record is not None  # its callers have looked
    return record._replace(owner=record.owner or visit.record.owner)


def _noting(visit: Visit, steps: Steps) -> Steps:
    """Perform ``steps``; note what stood, and begin with what the call believes instead of a request."""
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
        except BaseException as failure:  # noqa: BLE001 - it belongs to the steps
            reply, error = None, failure
        else:
            if isinstance(command, Swap):
                visit.stands = reply


class Methods:
    """A layer's methods for the drivers: by name where the parameter has the documented one.

    Of an async layer they give coroutines.

    Parameters
    ----------
    layer
        The layer.
    visit
        What its methods are to see of the call; None leaves that as it is.
    """

    def __init__(self, layer: Any, visit: Visit | None = None) -> None:
        self._layer = layer
        self._visit = visit
        self.blocks: bool = bool(getattr(layer, "blocks", True))
        for method in DOCUMENTED:
            setattr(self, method, self._caller(method, _BY_NAME[method]))

    def _caller(self, method: str, name: str) -> Callable[[Any], Any]:
        """Return what calls one method: looked up anew each time, since tests replace methods."""
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
                if of_a_record:  # most are; and without a dictionary for the name
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
    """:class:`Methods` of an async layer: what it sees of the call lasts as long as its coroutines."""

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
    """Return whether a method takes its argument by ``name``, or by any name."""
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
    # As in Powertools: a body that changes its event does not change what the layer gets.
    try:
        return copy.deepcopy(payload)
    except Exception as error:  # noqa: BLE001 - not all can be copied
        raise_interrupt(error)
        return payload


def _asking(visit: Visit, method: str, **arguments: Any) -> Invoke:
    return Invoke("_visit_by", (visit, method, arguments))


class CallOfMethods:
    """One call of a function whose layer is called by its public methods.

    Parameters
    ----------
    layer
        The layer, blocking or async, or a mock of one.
    settings
        Those of the function.
    payload
        Returns the payload as plain data.
    fenced
        Whether the layer's own methods compare and swap.
    """

    def __init__(self, layer: Any, settings: Settings, payload: Callable[[], Any], *, fenced: bool) -> None:
        self._layer = layer
        self._settings = settings
        self._payload = functools.cache(lambda: _copy(payload()))
        self._fenced = fenced
        # An override of _get_record is asked, even where a refusal has told what stands.
        own = getattr(type(layer), "_get_record", None)
        self._looks_itself = (
            fenced and getattr(own, "__module__", __package__).rpartition(".")[0] != __package__
        )
        self._claimed: Record | None = None
        self.failure: BaseException | None = None
        """What the body raised."""

    def load(self, key: str) -> Steps:
        """Return what stands for ``key``."""
        return (yield from powertools_methods.load(key))

    def swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Steps:
        """Make ``new`` stand where ``expected`` does, by the method that does this in Powertools."""
        if new is None:
            return (yield from self._release(key, expected))
        now = callers_now(new, keep_ms)
        if new.status == COMPLETED:
            return (yield from self._complete(key, expected, new, now))
        visit = self._visit(new, None, now)
        lease = new.in_progress_expiry_timestamp
        try:
            yield _asking(
                visit,
                "save_inprogress",
                data=self._payload(),
                remaining_time_in_millis=None if lease is None else lease - now,
            )
        except IdempotencyItemAlreadyExistsError as exists:
            if not self._looks_itself:
                visit.known = exists.old_data_record
            try:
                found = yield _asking(visit, "get_record", data=self._payload())
            except IdempotencyItemNotFoundError:
                return None
            return checked_legacy(exists.old_data_record if found is None else found, key)
        assert visit.record is not None  # it was made above
        self._claimed = None if visit.reached else visit.record.as_record()
        if visit.reached:
            return visit.stands
        if self._fenced and not is_double(self._layer):
            if execution_of(new.owner) is not None:
                raise IdempotencyConfigError(
                    f"{type(self._layer).__name__}._put_record does without the method that it overrides, so "
                    f"the claim on {key!r} has no owner token, and its durable execution could not resume. "
                    "The function did not run. Call super()._put_record(data_record) in it."
                )
            self._warn("_put_record")
        return new

    def _complete(self, key: str, expected: Record | None, new: Record, now: int) -> Steps:
        visit = self._visit(new, expected, now)
        assert visit.record is not None  # it was made above
        try:
            if new.response_data == RESULT_UNAVAILABLE:  # nothing that save_success could be given
                yield _asking(visit, "_update_record", data_record=visit.record)
            else:
                result = None if new.response_data is None else json.loads(new.response_data)
                yield _asking(visit, "save_success", data=self._payload(), result=result)
        except IdempotencyLeaseLostError:
            return (yield from powertools_methods.load(key))
        stands = visit.stands
        if stands is None or (stands.status == COMPLETED and stands.owner == visit.record.owner):
            return new  # perhaps with what an override made of its text
        return stands

    def _release(self, key: str, expected: Record | None) -> Steps:
        claim = self._claimed or expected
        if claim is None:
            return (yield from powertools_methods.load(key))
        if not self._fenced and not is_double(self._layer):
            # As for any layer of four methods: deleting is the one thing that cannot be taken back.
            found = yield from powertools_methods.load(key)
            granted = Granted(*claim)
            granted.as_left = DataRecord.of(claim)
            if not powertools_methods.may_be_the_claim(found, granted):
                return found
        visit = self._visit(claim, expected, 0)
        try:
            yield _asking(visit, "delete_record", data=self._payload(), exception=self.failure)
        except IdempotencyLeaseLostError:
            return (yield from powertools_methods.load(key))
        return None

    def _visit(self, record: Record, expected: Record | None, now: int) -> Visit:
        # A claim that the layer's own method has not written has no owner in the store (CAS-9).
        owner = record.owner if self._claimed is None else None
        carried = DataRecord.of(record._replace(owner=owner))
        return Visit(self._layer, self._settings, carried, expected, now)

    def _warn(self, method: str) -> None:
        log(
            logging.WARNING,
            "%s.%s does without the method that it overrides: its records are not fenced. A call that "
            "outlives its lease may overwrite another's. Call super().%s(data_record) in it.",
            type(self._layer).__name__,
            method,
            method,
        )

    def body(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, noting what it raises."""
        return partial(self._run, function)

    def _run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as failure:
            self.failure = failure
            raise

    def async_body(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return an async ``function``, noting what it raises."""
        return partial(self._run_async, function)

    async def _run_async(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except BaseException as failure:
            self.failure = failure
            raise
