"""Symbolic whole numbers and texts, which stand for all values at once.

They support what the specification does with times, owners, hashes and responses. All else is refused,
because an operation that chose one value would prove nothing about the others. Whether a field is None is not
symbolic: every combination is executed, so that ``is None`` is right.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import z3

from ..spec.record import DURABLE
from .execution import Execution, Unsupported, evaluate
from .terms import HEAD, IS_DURABLE, REST, TAIL, Term, build, equal


def _refusal(kind: str, operation: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise Unsupported(f"the specification uses {operation} on a symbolic {kind}")

    return refuse


class _Symbol:
    """A symbolic value: a term, in an execution."""

    __slots__ = ("_execution", "term")

    # isinstance() asks for the class of what is no instance.
    __class__ = property(_refusal("value", "isinstance"))

    def __init__(self, execution: Execution, term: Term) -> None:
        self._execution = execution
        self.term = term


def _refusing(kind: str, operations: str) -> Callable[[type], type]:
    def add(cls: type) -> type:
        for name in operations.split():
            setattr(cls, f"__{name}__", _refusal(kind, name))
        cls.__getattr__ = _refusal(kind, "an attribute")  # type: ignore[attr-defined]
        return cls

    return add


_CONVERSIONS = (
    "hash str repr format bytes int float complex index iter len contains call reduce_ex copy deepcopy "
)


@_refusing(
    "number",
    _CONVERSIONS
    + "getitem truediv rtruediv rfloordiv rmod divmod rdivmod pow rpow abs round trunc floor ceil "
    "invert and rand or ror xor rxor lshift rlshift rshift rrshift",
)
class Whole(_Symbol):  # noqa: PLW1641 - a hash is refused
    """A symbolic whole number."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        value = _number(other)
        return value is not None and self._execution.decide(equal(self.term, value))

    # One condition for all four, so that it is decided once.
    def __lt__(self, other: object) -> bool:
        value = _number(other)
        return NotImplemented if value is None else self._execution.decide(("<", self.term, value))

    def __gt__(self, other: object) -> bool:
        value = _number(other)
        return NotImplemented if value is None else self._execution.decide(("<", value, self.term))

    def __le__(self, other: object) -> bool:
        value = _number(other)
        return NotImplemented if value is None else not self._execution.decide(("<", value, self.term))

    def __ge__(self, other: object) -> bool:
        value = _number(other)
        return NotImplemented if value is None else not self._execution.decide(("<", self.term, value))

    def __bool__(self) -> bool:
        return self != 0

    def __neg__(self) -> "Whole":
        return Whole(self._execution, ("*", -1, self.term))

    def __add__(self, other: object) -> "Whole":
        value = _number(other)
        return NotImplemented if value is None else Whole(self._execution, ("+", self.term, value))

    def __sub__(self, other: object) -> "Whole":
        value = _number(other)
        return NotImplemented if value is None else Whole(self._execution, ("-", self.term, value))

    def __rsub__(self, other: object) -> "Whole":
        value = _number(other)
        return NotImplemented if value is None else Whole(self._execution, ("-", value, self.term))

    def __mul__(self, other: object) -> "Whole":
        if type(other) is not int:
            raise Unsupported("the specification multiplies two symbolic numbers")
        return Whole(self._execution, ("*", other, self.term))

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, other: object) -> "Whole":
        return Whole(self._execution, ("//", self.term, _divisor(other)))

    def __mod__(self, other: object) -> "Whole":
        return Whole(self._execution, ("%", self.term, _divisor(other)))


def _number(value: object) -> Term | None:
    """Return the term of a number, None if ``value`` is no number."""
    if type(value) is Whole:
        return value.term
    _refuse_other_kinds(value, (int, float, complex))
    return value if type(value) is int else None


def _refuse_other_kinds(value: object, kinds: tuple[type, ...]) -> None:
    """Refuse what may equal a symbolic value, but is not of the plain type: True, members of enumerations."""
    if type(value) not in (int, str) and issubclass(type(value), kinds):
        raise Unsupported(f"the specification compares a symbolic value to a {type(value).__name__}")


def _divisor(value: object) -> int:
    if type(value) is int and value > 0:
        return value
    raise Unsupported("the specification divides by what is not a number above 0")


@_refusing(
    "text",
    _CONVERSIONS + "lt le gt ge add radd mul rmul mod rmod",
)
class Text(_Symbol):  # noqa: PLW1641 - a hash is refused
    """A symbolic text. Only whether texts are equal matters, and which durable execution a token names."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is Text:
            return self._execution.decide(equal(self.term, other.term))
        if type(other) is str:
            return self._execution.decide(equal(self.term, _literal(other)))
        _refuse_other_kinds(other, (str,))
        return False

    def __bool__(self) -> bool:
        return not self == ""  # noqa: SIM201 - __ne__ would ask the same

    def startswith(self, prefix: str) -> bool:
        """Return whether this is the token of a durable execution."""
        if prefix != DURABLE:
            raise Unsupported(f"the specification asks whether a symbolic text starts with {prefix!r}")
        return self._execution.decide(("is durable", self.term))

    def __getitem__(self, part: object) -> "Text":
        if part != slice(len(DURABLE), None):
            raise Unsupported("the specification takes a part of a symbolic text")
        return Text(self._execution, ("rest", self.term))

    def rpartition(self, separator: str) -> tuple["Text", "Text", "Text"]:
        """Return the parts before and after the last slash."""
        if separator != "/":
            raise Unsupported(f"the specification divides a symbolic text at {separator!r}")
        head, slash, tail = (Text(self._execution, (part, self.term)) for part in ("head", "slash", "tail"))
        return head, slash, tail


_LITERALS = {"": -1}


def _literal(text: str) -> int:
    """Return the number of a literal text of the specification; symbolic texts may be equal to it."""
    if text.startswith(DURABLE):
        raise Unsupported("the specification names a token of a durable execution")
    return _LITERALS.setdefault(text, -1 - len(_LITERALS))


class Values:
    """Real values for the symbolic ones of a path."""

    def __init__(self, model: z3.ModelRef) -> None:
        self._model = model
        self._texts = {number: text for text, number in _LITERALS.items()}

    def real(self, value: Any) -> Any:
        """Return ``value`` with real values for the symbolic ones, at any depth."""
        if type(value) is Whole:
            return evaluate(self._model, build(value.term))
        if type(value) is Text:
            name = value.term[1] if isinstance(value.term, tuple) and value.term[0] == "text" else "text"
            return self._text(build(value.term), str(name))
        if type(value) is list:
            return list(map(self.real, value))
        if isinstance(value, tuple):
            parts = map(self.real, value)
            make = getattr(type(value), "_make", tuple)
            return make(parts)
        return value

    def _text(self, expression: z3.ExprRef, name: str) -> str:
        """Return the text for ``expression``: equal texts have the name of the first of them."""
        number = evaluate(self._model, expression)
        if number not in self._texts:
            if number >= 0 and evaluate(self._model, IS_DURABLE(z3.IntVal(number))):
                name = self._token(number, name)
            self._texts[number] = name
        return self._texts[number]

    def _token(self, number: int, name: str) -> str:
        """Return a token of a durable execution. Nothing asks for the other part if one is empty."""
        head, tail = (evaluate(self._model, part(REST(z3.IntVal(number)))) for part in (HEAD, TAIL))
        if head == _LITERALS[""]:
            return f"{DURABLE}/{name}"
        if tail == _LITERALS[""]:
            return f"{DURABLE}{name}/"
        return f"{DURABLE}{self._texts[head] if head < 0 else f'execution-{head}'}/{name}"
