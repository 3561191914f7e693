"""Encode a result, rebuild it, and compare it with the original."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ...drivers.interrupts import raise_interrupt
from ..encoding import decode, encode
from .comparing import difference
from .custom import ResultChangedError, stored_by
from .rebuilding import MisfitError
from .verdicts import verdict

_Dumps = tuple[Callable[[Any], Any], ...]
_Read = Callable[[Any], Any]


class Stored(NamedTuple):
    """A result in a form from which it is rebuilt unchanged."""

    data: Any
    text: str
    rebuilt: Any


def stored(result: Any, dumps: Iterable[Callable[[Any], Any]], read: Callable[[Any], Any]) -> Stored:
    """Return the first form of a result from which it is rebuilt unchanged.

    Parameters
    ----------
    result
        What the function returned.
    dumps
        The functions that convert it to data, one for each form.
    read
        Rebuilds it from data.

    Raises
    ------
    ResultChangedError
        No form rebuilds it unchanged. The message says what the first form would change.
    TypeError, ValueError, RecursionError
        It cannot be encoded as JSON.
    """
    texts: list[str] = []
    failure: Exception | None = None
    for dump in dumps:
        try:
            data = dump(result)
            text = encode(data)
        except Exception as error:
            raise_interrupt(error)
            if failure is None:
                raise
            continue
        if text in texts:
            continue
        texts.append(text)
        try:
            rebuilt = read(decode(text))
            change = difference(result, rebuilt)
        except Exception as error:  # noqa: BLE001 - whatever it is, every replay would raise it
            raise_interrupt(error)
            cause = f"{place(error)}: the {type(error).__name__} is the cause of this error"
            changed = ResultChangedError(f"it cannot be rebuilt at {cause}")
            changed.__cause__ = error
        else:
            if change is None:
                return Stored(data, text, rebuilt)
            changed = ResultChangedError(f"it would come back changed: {change}")
        failure = failure or changed
    assert failure is not None  # there is at least one form
    raise failure


class Checks:
    """Checks the results of one serializer.

    Parameters
    ----------
    model
        The type that it stores, resolved.
    own_conversion
        Whether a derived class has its own conversion.
    """

    __slots__ = ("_verdict", "own_conversion")

    stored_by = staticmethod(stored_by)

    def __init__(self, model: Any, *, own_conversion: bool) -> None:
        self.own_conversion = own_conversion
        self._verdict = verdict(model)

    def store(self, result: Any, dumps: _Dumps, read: _Read) -> tuple[str, Any]:
        """Return a result as text and as it is rebuilt; see `stored`."""
        if self._verdict is not None and self._verdict(result):
            text = encode(dumps[0](result))
            # Two lone surrogates of one character would be rebuilt as that character.
            if "\\ud" not in text:
                return text, result
        _, text, rebuilt = stored(result, dumps, read)
        return text, rebuilt

    def data(self, result: Any, dumps: _Dumps, read: _Read) -> Any:
        """Return a result's data in the form that rebuilds it unchanged; in the first form if none does."""
        if self._verdict is not None and self._verdict(result):
            return dumps[0](result)
        try:
            return stored(result, dumps, read).data
        except ResultChangedError:
            return dumps[0](result)


def place(error: Exception) -> str:
    """Return the path at which stored data could not be read, as far as the error says it."""
    if isinstance(error, MisfitError):
        inner = place(error.cause) if isinstance(error.cause, Exception) else "$"
        return f"${error.path}{inner[1:]}"
    if callable(details := getattr(error, "errors", None)):  # Pydantic's
        try:
            location = details(include_url=False, include_context=False, include_input=False)[0]["loc"]
        except Exception as failure:  # noqa: BLE001 - an unrelated error with a method of this name
            raise_interrupt(failure)
            return "$"
        return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "$"
