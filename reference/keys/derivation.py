"""Derives the keys and payload hashes of one function."""

import inspect
import marshal
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from jmespath.parser import ParsedResult

from ...spec.errors import IdempotencyKeyError
from ..config import IdempotencyConfig
from ..jmespath_functions import bounded_unpacking, unpacks
from .encoding import encoder
from .missing import Expectation
from .opening import as_plain_data
from .plain import locate, plain
from .refusals import KeptOut, Marker, Refused, Unselected, kind_of
from .searching import OpeningInterpreter
from .warned import warn

_KEY, _VALIDATION = "event_key_jmespath", "payload_validation_jmespath"


class _Selection:
    """What one expression selects, and its text."""

    __slots__ = ("_bound", "_expectation", "_node", "_reveal", "_visit", "expression", "name")

    def __init__(
        self, name: str, expression: str, compiled: ParsedResult | None, config: IdempotencyConfig
    ) -> None:
        self.name = name
        self.expression = expression
        self._reveal = config.keyed
        self._node = None if compiled is None else compiled.parsed
        self._visit: Callable[[Any, Any], Any] = OpeningInterpreter(
            config.search_options, reveal=self._reveal
        ).visit
        self._bound = config.max_unpacked_bytes if unpacks(self._node) else None
        self._expectation = None if self._node is None else Expectation(self._node)

    def of(self, payload: Any) -> Any:
        """Return what is selected."""
        if self._node is None:
            return payload
        if self._bound is None:
            return self._visit(self._node, payload)
        with bounded_unpacking(self._bound):
            return self._visit(self._node, payload)

    def missing(self, selected: Any, payload: Any) -> list[str]:
        """Return how to call each part that the expression names and does not find."""
        if self._expectation is None:
            return []
        if self._bound is None:
            return self._expectation.missing(selected, payload, self._visit)
        with bounded_unpacking(self._bound):
            return self._expectation.missing(selected, payload, self._visit)

    def text(self, selected: Any) -> str:
        """Return the JSON text of what was selected."""
        if type(selected) is not str:
            try:
                # Proves that all of it is exactly what JSON knows, in a fraction of the time that a look takes.
                marshal.dumps(selected)
            except ValueError:
                selected = plain(selected, reveal=self._reveal)
        return encoder.encode(selected)

    def located(self, selected: Any, error: Exception) -> Refused:
        """Return where what was selected cannot be encoded, and why."""
        return error if isinstance(error, Refused) else locate(selected, reveal=self._reveal)


class KeyDerivation:
    """Derives the keys of one decorated function.

    Parameters
    ----------
    config
        Says what to select, how to hash it, and what to do if there is no key.
    prefix
        What all keys begin with; see `function_prefix`.
    function
        What to call the function in messages. Default: the prefix.
    """

    __slots__ = ("_config", "_digest", "_function", "_key", "_prefix", "_validation", "_warned")

    def __init__(self, config: IdempotencyConfig, prefix: str, function: str | None = None) -> None:
        self._config = config
        self._prefix = prefix
        self._digest = config.digest
        self._function = prefix if function is None else function
        self._key = _Selection(_KEY, config.event_key_jmespath, config.key_expression, config)
        self._validation = (
            _Selection(
                _VALIDATION, config.payload_validation_jmespath, config.validation_expression, config
            )
            if config.validation_expression
            else None
        )
        self._warned = False

    def derive(self, payload: Any, key_data: Any = ...) -> tuple[str | None, str | None]:
        """Return the idempotency key and the payload hash.

        Parameters
        ----------
        payload
            What is searched: the event, the argument, or a dict of arguments.
        key_data
            What the key is the hash of, if that is not selected from the payload.

        Returns
        -------
        tuple
            The key, or None (with a warning) if the payload has none; and the hash of what
            ``payload_validation_jmespath`` selects, or None if that is not set or there is no key.

        Raises
        ------
        IdempotencyKeyError
            The payload has no key and the configuration insists on one, or it cannot be searched or hashed.
        """
        key = self._key
        if type(payload) is dict:
            data = payload
        else:
            try:
                data = as_plain_data(payload)
            except Refused as refusal:
                self._refuse(refusal, "of the payload")
        if key_data is ...:
            try:
                selected = key.of(data)
            except Exception as error:
                self._fail_search(key, payload, error)
        else:
            selected = key_data
        if type(selected) is not str and type(selected) is not dict:
            selected = self._resolved(key, selected)
        if self._is_missing(key, selected):
            self._report_missing(payload)
            return None, None
        if key_data is ... and (missing := key.missing(selected, data)):
            self._warn_of_missing_parts(missing)
        try:
            text = key.text(selected)
        except Exception as error:
            self._fail_encoding(key, selected, error)
        name = f"{self._prefix}#{self._digest(text.encode())}"
        if self._validation is None:
            return name, None
        return name, self._payload_hash(payload, data, self._validation)

    def _payload_hash(self, payload: Any, data: Any, validation: _Selection) -> str:
        try:
            selected = validation.of(data)
        except Exception as error:
            self._fail_search(validation, payload, error)
        if not self._warned and (missing := validation.missing(selected, data)):
            self._warned = True
            named = ", ".join(missing) if missing != [""] else "anything"
            warn(
                f"The payloads of {self._function}() are not validated by all of "
                f"payload_validation_jmespath={validation.expression!r}: it does not find {named} in this one, of "
                f"type {kind_of(payload)}. Is a name misspelt? Said once for each function."
            )
        try:
            return self._digest(validation.text(selected).encode())
        except Exception as error:
            self._fail_encoding(validation, selected, error)

    def _resolved(self, key: _Selection, selected: Any) -> Any:
        if isinstance(selected, KeptOut):
            return selected.value
        if isinstance(selected, Marker):
            try:
                return plain(selected, reveal=self._config.keyed)
            except Refused as refusal:
                self._fail_encoding(key, selected, refusal)
        return selected

    def _is_missing(self, key: _Selection, selected: Any) -> bool:
        try:
            return is_missing(selected)
        except Exception as error:
            self._fail_encoding(key, selected, error)

    def _report_missing(self, payload: Any) -> None:
        expression = self._key.expression
        kind = kind_of(payload)
        found = (
            f"event_key_jmespath={expression!r} selects nothing from the payload, of type {kind}"
            if expression
            else f"the payload is empty, of type {kind}"
        )
        if self._config.raise_on_no_idempotency_key:
            raise IdempotencyKeyError(
                f"No idempotency key for {self._function}(), which did not run: {found}. Send what identifies the "
                "operation, or allow calls without a key with raise_on_no_idempotency_key=False."
            )
        warn(f"This call of {self._function}() runs without idempotency: {found}.")

    def _warn_of_missing_parts(self, missing: list[str]) -> None:
        named = ", ".join(missing) if missing != [""] else "a part"
        warn(
            f"The idempotency key of {self._function}() lacks {named} of "
            f"event_key_jmespath={self._key.expression!r}: operations that differ only there share a key. Is a "
            "name misspelt?"
        )

    def _fail_search(self, selection: _Selection, payload: Any, error: Exception) -> NoReturn:
        if isinstance(error, Refused):
            self._refuse(error, f"{selection.name}={selection.expression!r}", searched=payload)
        # A JMESPath type error quotes the value, which may be a secret: say the types alone.
        detail = type(error).__name__
        function = getattr(error, "function_name", None)
        if function is not None and hasattr(error, "actual_type"):
            detail += f": {function}() got {error.actual_type}"
        elif getattr(error, "shows_no_value", False):
            detail += f": {error}"
        raise IdempotencyKeyError(
            f"No idempotency key can be derived for {self._function}(), which did not run: "
            f"{selection.name}={selection.expression!r} cannot be evaluated on this payload, of type "
            f"{kind_of(payload)} ({detail}). Correct the expression, or refuse such payloads before the call."
        ) from error

    def _fail_encoding(self, selection: _Selection, selected: Any, error: Exception) -> NoReturn:
        refusal = selection.located(selected, error)
        origin = (
            f"of what {selection.name}={selection.expression!r} selects"
            if selection.expression
            else "of the payload"
        )
        self._refuse(refusal, origin, cause=error)

    def _refuse(
        self, refusal: Refused, origin: str, *, searched: Any = ..., cause: Exception | None = None
    ) -> NoReturn:
        found = (
            f"{refusal.path} {origin} {refusal.what}"
            if searched is ...
            else f"{origin} {refusal.what} (the payload is of type {kind_of(searched)})"
        )
        raise IdempotencyKeyError(
            f"No idempotency key can be derived for {self._function}(), which did not run: {found}. {refusal.ways}."
        ) from (cause or refusal)


def key_data(
    key: Callable[..., Any], function: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Return what a key function makes of a call's arguments.

    Parameters
    ----------
    key
        The key function.
    function
        What to call the protected function in messages.
    args, kwargs
        The arguments of the call.

    Raises
    ------
    IdempotencyKeyError
        The key function raised, or returned a coroutine.
    """
    try:
        data = key(*args, **kwargs)
    except Exception as error:
        raise IdempotencyKeyError(
            f"No idempotency key can be derived for {function}(), which did not run: its key function raised "
            f"{type(error).__name__}. It is called with the arguments of the call; correct it, or refuse such calls."
        ) from error
    if inspect.isawaitable(data):
        if inspect.iscoroutine(data):
            data.close()
        raise IdempotencyKeyError(
            f"No idempotency key can be derived for {function}(), which did not run: its key function returned a "
            f"{kind_of(data)}, which has to be awaited. Use a plain function that returns plain data."
        )
    return data


def is_missing(selected: Any) -> bool:
    """Return whether what was selected is no key.

    Empty strings and None are none, and so are lists and dicts that are empty or hold nothing but None.
    Numbers, zero and False included, are keys.

    Parameters
    ----------
    selected
        What ``event_key_jmespath`` selected, or the whole payload.
    """
    if isinstance(selected, str):
        return not selected
    if isinstance(selected, dict):
        return _only_none(selected.values())
    if isinstance(selected, tuple | list):
        return _only_none(selected)
    if isinstance(selected, int | float):
        return False
    return not selected


def _only_none(values: Iterable[Any]) -> bool:
    for value in values:  # noqa: SIM110 - hardly ever goes beyond the first, which a generator would
        if value is not None and not isinstance(value, Unselected):
            return False
    return True
