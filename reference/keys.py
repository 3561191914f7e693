"""From a payload to its idempotency key and its payload hash.

Both are byte for byte what Powertools for AWS Lambda derives, so that the two can share a table.
"""

import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from datetime import date, time
from enum import Enum
from json.encoder import c_make_encoder  # type: ignore[attr-defined]
from typing import Any

from jmespath.parser import ParsedResult
from jmespath.visitor import TreeInterpreter

from ..backends.warning import IdempotencyWarning
from ..spec.errors import IdempotencyKeyError, IdempotencyPayloadError
from .config import IdempotencyConfig
from .encoding import ResultEncoder, locate_failure

_Search = Callable[[Any], Any]

_PACKAGE = __name__.partition(".")[0]


class KeyEncoder(ResultEncoder):
    """What results can hold, and also enumerations, dates, times, UUIDs and paths."""

    def __init__(self) -> None:
        super().__init__()
        # One for all calls and threads, in two thirds of the time. Nothing has run yet, so a payload that
        # contains itself may be refused for its depth; a result may not.
        self._write = None if c_make_encoder is None else self.writer(None)

    def encode(self, o: Any) -> str:
        """Return ``o`` as JSON text."""
        if self._write is None or isinstance(o, str):
            return super().encode(o)
        return "".join(self._write(o, 0))

    def default(self, o: Any) -> Any:
        """Return what stands for a value that JSON does not know.

        Raises
        ------
        TypeError
            Nothing does.
        """
        try:
            # First, so that an enumeration of decimals is hashed as a decimal.
            return super().default(o)
        except TypeError:
            if isinstance(o, Enum):
                return o.value
            if isinstance(o, date | time):
                return o.isoformat()
            from pathlib import PurePath  # noqa: PLC0415 - milliseconds that few payloads need
            from uuid import UUID  # noqa: PLC0415 - same

            if isinstance(o, UUID | PurePath):
                return str(o)
            raise


_encoder = KeyEncoder()


class KeyDerivation:
    """Derives the keys of one decorated function.

    Parameters
    ----------
    config
        Says what to select, how to hash it, and what to do if there is no key.
    prefix
        What all keys begin with; see `function_prefix`.
    """

    __slots__ = ("_config", "_digest", "_key_search", "_parts", "_prefix", "_validation_search")

    def __init__(self, config: IdempotencyConfig, prefix: str) -> None:
        self._config = config
        self._prefix = prefix
        self._digest = config.digest
        expression, validation = config.key_expression, config.validation_expression
        self._key_search = _search(expression, config)
        self._validation_search = _search(validation, config)
        self._parts = _parts(expression.parsed) if expression else None

    def derive(self, payload: Any) -> tuple[str | None, str | None]:
        """Return the idempotency key and the payload hash.

        Parameters
        ----------
        payload
            Plain data, as `as_plain_data` gives it.

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
        config = self._config
        selected = payload
        if self._key_search is not None:
            try:
                selected = self._key_search(payload)
            except Exception as error:
                raise _search_failure("event_key_jmespath", config.event_key_jmespath, error) from error
        if is_missing(selected):
            self._report_missing()
            return None, None
        if self._parts is not None:
            _warn_of_missing_parts(self._parts, selected, config.event_key_jmespath)
        try:
            key = f"{self._prefix}#{self._digest(_encoder.encode(selected).encode())}"
        except Exception as error:
            raise _hash_failure("event_key_jmespath", config.event_key_jmespath, selected).because(
                error
            ) from error
        return key, self.payload_hash(payload)

    def payload_hash(self, payload: Any) -> str | None:
        """Return the hash of what ``payload_validation_jmespath`` selects, None if that is not set."""
        search = self._validation_search
        if search is None:
            return None
        expression = self._config.payload_validation_jmespath
        try:
            selected = search(payload)
        except Exception as error:
            raise _search_failure("payload_validation_jmespath", expression, error) from error
        try:
            return self._digest(_encoder.encode(selected).encode())
        except Exception as error:
            raise _hash_failure("payload_validation_jmespath", expression, selected).because(error) from error

    def hash_of(self, selected: Any) -> str:
        """Return the hash of what was selected from a payload."""
        try:
            return self._digest(_encoder.encode(selected).encode())
        except Exception as error:
            raise _hash_failure("event_key_jmespath", "", selected).because(error) from error

    def _report_missing(self) -> None:
        expression = self._config.event_key_jmespath
        if expression:
            found = f"event_key_jmespath={expression!r} selects nothing from the payload"
        else:
            found = "the payload is empty"
        if self._config.raise_on_no_idempotency_key:
            raise IdempotencyKeyError(
                f"No idempotency key: {found}. Send what identifies the operation, or allow calls without a "
                "key with raise_on_no_idempotency_key=False."
            )
        _warn(f"This call runs without idempotency: {found}.")


def is_missing(selected: Any) -> bool:
    """Tell whether what was selected is no key.

    Empty strings and None are none, and so are lists and dicts that are empty or hold nothing but None.
    Numbers, zero and False included, are keys.

    Parameters
    ----------
    selected
        What ``event_key_jmespath`` selected, or the whole payload.

    Raises
    ------
    IdempotencyKeyError
        The value has no truth, for instance an array of numbers.
    """
    if isinstance(selected, str):
        return not selected
    if isinstance(selected, dict):
        return _only_none(selected.values())
    if isinstance(selected, tuple | list):
        return _only_none(selected)
    if isinstance(selected, int | float):
        return False
    try:
        return not selected
    except Exception as error:
        raise _hash_failure("event_key_jmespath", "", selected).because(error) from error


def _only_none(values: Iterable[Any]) -> bool:
    for value in values:  # noqa: SIM110 - hardly ever goes beyond the first, which a generator would
        if value is not None:
            return False
    return True


def function_prefix(function: Callable[..., Any], key_prefix: str | None) -> str:
    """Return what the keys of a function begin with.

    Parameters
    ----------
    function
        A function, method, partial or callable object.
    key_prefix
        Used instead, if given. It survives renaming and moving the function.

    Returns
    -------
    str
        ``key_prefix``, or the Lambda function's name (``test-func`` outside of Lambda), the module and the
        qualified name, joined with dots.
    """
    if key_prefix:
        return key_prefix
    named: Any = function
    while isinstance(named, functools.partial | functools.partialmethod):
        named = named.func
    if not isinstance(getattr(named, "__qualname__", None), str):
        named = type(named)
    return named_prefix(f"{named.__module__}.{named.__qualname__}", None)


def named_prefix(function_name: str, key_prefix: str | None) -> str:
    """Return what the keys of a function of this name begin with; see `function_prefix`."""
    return key_prefix or f"{os.environ.get('AWS_LAMBDA_FUNCTION_NAME', 'test-func')}.{function_name}"


def _search(expression: ParsedResult | None, config: IdempotencyConfig) -> _Search | None:
    """Return `ParsedResult.search`, with one interpreter for all calls: it keeps no state of any."""
    if expression is None:
        return None
    visit: Callable[..., Any] = TreeInterpreter(config.search_options).visit
    return functools.partial(visit, expression.parsed)


def _parts(node: Any) -> list[str] | dict[str, str] | None:
    """Return how to call the parts of a multi-select: of a list by position, of a dict by name."""
    # What a path or pipe ends in is what it selects.
    while node["type"] in ("subexpression", "pipe"):
        node = node["children"][-1]
    if node["type"] == "multi_select_list":
        return [f"position {index}{_spelt(child)}" for index, child in enumerate(node["children"])]
    if node["type"] == "multi_select_dict":
        return {child["value"]: repr(child["value"]) for child in node["children"]}
    return None


def _spelt(node: Any) -> str:
    fields = node["children"] if node["type"] == "subexpression" else [node]
    if all(field["type"] == "field" for field in fields):
        return f" ({'.'.join(field['value'] for field in fields)})"
    return ""


def _warn_of_missing_parts(parts: list[str] | dict[str, str], selected: Any, expression: str) -> None:
    if isinstance(parts, list):
        missing = [name for name, value in zip(parts, selected, strict=True) if value is None]
    else:
        missing = [name for part, name in parts.items() if selected[part] is None]
    if missing:
        _warn(
            f"The idempotency key lacks {', '.join(missing)} of event_key_jmespath={expression!r}: "
            "operations that differ only there share a key. Is a name misspelt?"
        )


def _warn(message: str) -> None:
    # Blames the line that made the call, however deep inside the library this is.
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
        level += 1
    warnings.warn(message, IdempotencyWarning, stacklevel=level)


def _search_failure(name: str, expression: str, error: Exception) -> IdempotencyPayloadError:
    # A JMESPath type error quotes the value, which may be a secret: say the types alone.
    detail = type(error).__name__
    function = getattr(error, "function_name", None)
    if function is not None and hasattr(error, "actual_type"):
        detail += f": {function}() got {error.actual_type}"
    return IdempotencyPayloadError(
        f"No idempotency key can be derived: {name}={expression!r} cannot be evaluated on this payload "
        f"({detail}). Mend the expression, or refuse such payloads before the call."
    ).because(error)


def _hash_failure(name: str, expression: str, selected: Any) -> IdempotencyPayloadError:
    path, fault = locate_failure(selected, _encoder)
    origin = f"of what {name}={expression!r} selects" if expression else "of the payload"
    return IdempotencyPayloadError(
        f"No idempotency key can be derived: {path} {origin} {fault}. Convert it to plain JSON data before "
        f"the call, or select other parts with {name}."
    )
