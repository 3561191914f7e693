"""A result to text, back, and compared with itself."""

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
    """A result in the form in which it comes back unchanged."""

    data: Any
    text: str
    rebuilt: Any


def stored(result: Any, dumps: Iterable[Callable[[Any], Any]], read: Callable[[Any], Any]) -> Stored:
    """Return the first form of a result that comes back as what it was.

    Parameters
    ----------
    result
        What the function returned.
    dumps
        What makes data of it, in different forms.
    read
        What rebuilds it from data.

    Raises
    ------
    ResultChangedError
        In none of them it does. The first form tells what would change.
    TypeError, ValueError, RecursionError
        It cannot be JSON.
    """
    texts: list[str] = []
    trouble: Exception | None = None
    for dump in dumps:
        try:
            data = dump(result)
            text = encode(data)
        except Exception as error:
            raise_interrupt(error)
            if trouble is None:
                raise
            continue
        if text in texts:
            continue
        texts.append(text)
        try:
            rebuilt = read(decode(text))
            change = difference(result, rebuilt)
        except Exception as error:  # noqa: BLE001 - whatever it is, repeats would get it
            raise_interrupt(error)
            told = f"{place(error)}: the {type(error).__name__} is the cause of this error"
            changed = ResultChangedError(f"it cannot be rebuilt at {told}")
            changed.__cause__ = error
        else:
            if change is None:
                return Stored(data, text, rebuilt)
            changed = ResultChangedError(f"it would come back changed: {change}")
        trouble = trouble or changed
    assert trouble is not None  # there is a form
    raise trouble


class Checks:
    """What is asked of the results of one serializer.

    Parameters
    ----------
    model
        What it stores, resolved.
    own_conversion
        Whether a derived class has its own conversion.
    """

    __slots__ = ("_verdict", "own_conversion")

    stored_by = staticmethod(stored_by)

    def __init__(self, model: Any, *, own_conversion: bool) -> None:
        self.own_conversion = own_conversion
        self._verdict = verdict(model)

    def store(self, result: Any, dumps: _Dumps, read: _Read) -> tuple[str, Any]:
        """Return a result as text and as it comes back; see `stored`."""
        if self._verdict is not None and self._verdict(result):
            text = encode(dumps[0](result))
            # Two halves of one character, alone, would come back as that character.
            if "\\ud" not in text:
                return text, result
        _, text, rebuilt = stored(result, dumps, read)
        return text, rebuilt

    def data(self, result: Any, dumps: _Dumps, read: _Read) -> Any:
        """Return a result's data in the form that comes back; in the first one if none does."""
        if self._verdict is not None and self._verdict(result):
            return dumps[0](result)
        try:
            return stored(result, dumps, read).data
        except ResultChangedError:
            return dumps[0](result)


def place(error: Exception) -> str:
    """Return the path at which stored data could not be read, as far as the error knows it."""
    if isinstance(error, MisfitError):
        inner = place(error.cause) if isinstance(error.cause, Exception) else "$"
        return f"${error.path}{inner[1:]}"
    if callable(details := getattr(error, "errors", None)):  # Pydantic's
        try:
            location = details(include_url=False, include_context=False, include_input=False)[0]["loc"]
        except Exception as failure:  # noqa: BLE001 - another kind of error that has such a method
            raise_interrupt(failure)
            return "$"
        return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "$"
