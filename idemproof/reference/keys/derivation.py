"""Derives the keys and payload hashes of one function."""

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ...spec.errors import IdempotencyKeyError, IdempotencyPayloadError
from ..jmespath_functions import UnpackedTooLargeError
from .opening import as_plain_data
from .refusals import Marker, Refused, Unselected, kind_of
from .selection import Selection
from .warned import warn

if TYPE_CHECKING:
    from ..config import IdempotencyConfig

_KEY, _VALIDATION = "event_key_jmespath", "payload_validation_jmespath"

_UNDECIDED = frozenset((type(None), Unselected))
"""If the first value of a dict has one of these types, the other values decide whether it is a key."""


class KeyDerivation:
    """Derives the keys of one decorated function.

    Parameters
    ----------
    config
        Defines what to select, how to hash it, and what to do if there is no key.
    prefix
        The prefix of all keys; see `function_prefix`.
    function
        The function's name in messages. Default: the prefix.
    """

    __slots__ = ("_config", "_digest", "_function", "_key", "_prefix", "_validation", "_warned")

    def __init__(self, config: "IdempotencyConfig", prefix: str, function: str | None = None) -> None:
        self._config = config
        self._prefix = prefix
        self._digest = config.digest
        self._function = prefix if function is None else function
        self._key = Selection(_KEY, config.event_key_jmespath, config.key_expression, config)
        self._validation = (
            Selection(_VALIDATION, config.payload_validation_jmespath, config.validation_expression, config)
            if config.validation_expression
            else None
        )
        self._warned = False

    def derive(self, payload: Any) -> tuple[str | None, str | None]:
        """Return the idempotency key and the payload hash.

        Parameters
        ----------
        payload
            What is searched: the event, the argument, or a dict of arguments.

        Returns
        -------
        tuple
            The key, or None (with a warning) if the payload has no key; and the hash of what
            ``payload_validation_jmespath`` selects, or None if that is not set or there is no key.

        Raises
        ------
        IdempotencyKeyError
            The payload has no key and the configuration requires one, or it cannot be searched or hashed.
        """
        key = self._key
        selected = data = payload if type(payload) is dict else self._data(payload)
        if key.expression:
            try:
                selected = key.of(data)
            except Exception as error:
                raise self._search_failure(key, payload, error).because(error) from error
        # Mostly a dict whose first value shows that there is a key.
        first = next(iter(selected.values()), None) if type(selected) is dict else None
        if type(first) in _UNDECIDED and self._is_missing(selected):
            self._report_missing(payload)
            return None, None
        if key.expression and (missing := key.missing(selected, data)):
            self._warn_of_missing_parts(missing)
        try:
            name = f"{self._prefix}#{self._digest(key.text(selected).encode())}"
        except Exception as error:
            raise self._encoding_failure(key, selected, error).because(error) from error
        return name, None if self._validation is None else self._payload_hash(payload, data, self._validation)

    def derive_from(self, identity: Any, payload: Any) -> tuple[str | None, str | None]:
        """Return the idempotency key and the payload hash of a call whose operation a key function names.

        Parameters
        ----------
        identity
            What the key function returned.
        payload
            What ``payload_validation_jmespath`` is searched in.

        Returns
        -------
        tuple
            As in `derive`.

        Raises
        ------
        IdempotencyKeyError
            As in `derive`.
        """
        if self._is_missing(identity):
            self._report_missing(identity, "its key function returned nothing")
            return None, None
        try:
            name = f"{self._prefix}#{self._digest(self._key.text(identity).encode())}"
        except Exception as error:
            raise self._encoding_failure(self._key, identity, error).because(error) from error
        if self._validation is None:
            return name, None
        return name, self._payload_hash(payload, self._data(payload), self._validation)

    def _data(self, payload: Any) -> Any:
        try:
            return as_plain_data(payload)
        except Refused as refusal:
            raise self._refusal(refusal, f"{refusal.path} of the payload").because(refusal) from refusal

    def payload_hash(self, payload: Any) -> str | None:
        """Return the hash of what ``payload_validation_jmespath`` selects; None if that is not set.

        Raises
        ------
        IdempotencyKeyError
            The payload cannot be searched or hashed.
        """
        if self._validation is None:
            return None
        return self._payload_hash(payload, self._data(payload), self._validation)

    def hash_of(self, selected: Any) -> str:
        """Return the hash of data that was selected from a payload.

        Raises
        ------
        IdempotencyKeyError
            It cannot be hashed.
        """
        try:
            return self._digest(self._key.text(selected).encode())
        except Exception as error:
            raise self._encoding_failure(self._key, selected, error).because(error) from error

    def _payload_hash(self, payload: Any, data: Any, validation: Selection) -> str:
        try:
            selected = validation.of(data)
        except Exception as error:
            raise self._search_failure(validation, payload, error).because(error) from error
        if not self._warned and (missing := validation.missing(selected, data)):
            self._warned = True
            named = "" if missing == [""] else f", which lacks {', '.join(missing)}"
            warn(
                f"payload_validation_jmespath={validation.expression!r} of {self._function}() does not find "
                f"all that it names in a payload of type {kind_of(payload)}{named}: missing parts are not "
                "validated. Is a name misspelled? This warning is shown once for each function."
            )
        try:
            return self._digest(validation.text(selected).encode())
        except Exception as error:
            raise self._encoding_failure(validation, selected, error).because(error) from error

    def _is_missing(self, selected: Any) -> bool:
        kind = type(selected)
        if kind is str:
            return not selected
        try:
            return is_missing(self._key.resolved(selected) if isinstance(selected, Marker) else selected)
        except Exception as error:
            raise self._encoding_failure(self._key, selected, error).because(error) from error

    def _report_missing(self, payload: Any, found: str = "") -> None:
        expression = self._key.expression
        kind = kind_of(payload)
        if not found and expression:
            found = f"event_key_jmespath={expression!r} selects nothing from the payload, of type {kind}"
        elif not found:
            found = f"the payload is empty, of type {kind}"
        if self._config.raise_on_no_idempotency_key:
            raise IdempotencyKeyError(
                f"No idempotency key for {self._function}(), which did not run: {found}. Send data that "
                "identifies the operation, or allow calls without a key with "
                "raise_on_no_idempotency_key=False."
            )
        warn(f"This call of {self._function}() runs without idempotency: {found}.")

    def _warn_of_missing_parts(self, missing: list[str]) -> None:
        named = ", ".join(missing) if missing != [""] else "a part"
        warn(
            f"The idempotency key of {self._function}() lacks {named} of "
            f"event_key_jmespath={self._key.expression!r}: operations that differ only there share a key. Is "
            "a name misspelled?"
        )

    def _search_failure(
        self, selection: Selection, payload: Any, error: Exception
    ) -> IdempotencyPayloadError:
        search = f"{selection.name}={selection.expression!r}"
        kind = kind_of(payload)
        if isinstance(error, Refused):
            return self._refusal(error, search, f" (the payload is of type {kind})")
        # A JMESPath type error quotes the value, which may be a secret: show only the types.
        detail = type(error).__name__
        function = getattr(error, "function_name", None)
        if function is not None and hasattr(error, "actual_type"):
            detail += f": {function}() got {error.actual_type}"
        elif isinstance(error, UnpackedTooLargeError):
            detail += f": {error}"
        return IdempotencyPayloadError(
            f"No idempotency key can be derived for {self._function}(), which did not run: {search} cannot "
            f"be evaluated on this payload, of type {kind} ({detail}). Fix the expression, or refuse such "
            "payloads before the call."
        )

    def _encoding_failure(
        self, selection: Selection, selected: Any, error: Exception
    ) -> IdempotencyPayloadError:
        refusal = selection.located(selected, error)
        expression = selection.expression
        origin = f"what {selection.name}={expression!r} selects" if expression else "the payload"
        return self._refusal(refusal, f"{refusal.path} of {origin}")

    def _refusal(self, refusal: Refused, place: str, remark: str = "") -> IdempotencyPayloadError:
        return IdempotencyPayloadError(
            f"No idempotency key can be derived for {self._function}(), which did not run: {place} "
            f"{refusal.what}{remark}. {refusal.ways}."
        )


def key_data(key: Callable[..., Any], function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what the key function returns for a call's arguments.

    Parameters
    ----------
    key
        The key function.
    function
        The name of the protected function in messages.
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
        raise IdempotencyPayloadError(
            f"No idempotency key can be derived for {function}(), which did not run: its key function "
            f"raised {type(error).__name__}. It is called with the arguments of the call; correct it, or "
            "refuse such calls."
        ).because(error) from error
    if inspect.isawaitable(data):
        if inspect.iscoroutine(data):
            data.close()
        raise IdempotencyKeyError(
            f"No idempotency key can be derived for {function}(), which did not run: its key function "
            f"returned a {kind_of(data)}, which has to be awaited. Use a plain function that returns plain "
            "data."
        )
    return data


def is_missing(selected: Any) -> bool:
    """Return whether the selected data is not a key.

    Empty strings and None are not keys, and neither are lists and dicts that are empty or hold only None.
    Numbers are keys, including zero and False.

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
    for value in values:  # noqa: SIM110 - faster than a generator: the first value mostly decides
        if value is not None and type(value) is not Unselected:
            return False
    return True
