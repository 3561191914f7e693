"""Reasons why a payload has no key, in messages that show no part of it."""

from typing import Any

from ..places import type_name


class Refused(Exception):  # noqa: N818 - internal: it is converted to a public error
    """A selected value cannot be part of a key.

    Parameters
    ----------
    what
        What is wrong, as text that follows the place: "is a secret ...".
    ways
        Two ways to fix it.
    """

    def __init__(self, what: str, ways: str) -> None:
        super().__init__(what)
        self.what = what
        self.ways = ways
        # The place of the value, once it is known.
        self.path = "$"


class Marker:
    """Replaces a value in plain data if its plain form may be the same as that of other values.

    Parameters
    ----------
    value
        The value itself.
    shown
        The value's plain form.
    """

    __slots__ = ("shown", "value")

    def __init__(self, value: Any, shown: Any) -> None:
        self.value = value
        self.shown = shown

    def resolve(self) -> Any:
        """Return the data that may be part of a key.

        Raises
        ------
        Refused
            There is no such data.
        """
        raise NotImplementedError


_WAYS = "Set hash_secret in the configuration, so that keys are HMACs and can hold it, or select other fields"


class Secret(Marker):
    """A secret, which its plain form shows as asterisks."""

    __slots__ = ()

    def resolve(self) -> Any:
        """Refuse the secret. Only a derivation with a hash secret reads it, with `reveal`."""
        raise Refused(f"is a secret ({kind_of(self.value)}), which plain data shows as asterisks", _WAYS)

    def reveal(self) -> Any:
        """Return the secret as data that JSON can represent."""
        secret = self.value.get_secret_value()
        if isinstance(secret, set | frozenset):
            return SecretSet(list(secret), None)
        return {"bytes": secret.hex()} if isinstance(secret, bytes) else secret


class SecretSet(Secret):
    """Unordered values, some of which are secrets."""

    __slots__ = ()

    def resolve(self) -> Any:
        """Refuse the set, as for a single secret."""
        raise Refused("holds secrets, which plain data shows as asterisks", _WAYS)


class KeptOut(Marker):
    """A field that the model's plain form leaves out. An expression that names the field finds it."""

    __slots__ = ()

    def resolve(self) -> Any:
        """Refuse the field, because it is only found by its name."""
        raise Refused(
            "is excluded from its model's dump, so operations that differ only there would share a key",
            "Select what identifies the operation, with or without this field, with an expression such as "
            "[order, account], or do not exclude the field",
        )


class Unselected(KeptOut):
    """A field whose absence from the plain form implies its value. An expression that names it finds it."""

    __slots__ = ()

    def resolve(self) -> Any:
        """Return None: the field is not part of the plain form."""
        return None


def is_secret(value: Any) -> bool:
    """Return whether a value hides another, as Pydantic's ``SecretStr`` does."""
    return callable(getattr(value.__class__, "get_secret_value", None))


def kind_of(value: Any) -> str:
    """Return the name of a value's class, with its module."""
    # `__class__` of a proxy is the class of its object.
    return type_name(value.__class__)


def unreadable(value: Any, looked_for: str) -> Refused:
    """Return the refusal of a path into an object of an unknown class."""
    return Refused(
        f"looks for {looked_for} in an object of type {kind_of(value)}, which no expression can read",
        "Pass a dict, a dataclass or a Pydantic model instead, or name the operation with key=callable",
    )


def hidden(value: Any, looked_for: str) -> Refused:
    """Return the refusal of a path into a secret."""
    kind = kind_of(value.value if isinstance(value, Marker) else value)
    return Refused(
        f"looks for {looked_for} inside a secret ({kind}), which is one value",
        "Select the secret itself, with hash_secret set in the configuration, or name the operation with "
        "key=callable",
    )


def failed_conversion(value: Any, error: Exception) -> Refused:
    """Return the refusal of a value whose conversion raised an error."""
    refusal = Refused(
        f"is of type {kind_of(value)} and could not be converted to plain data ({type(error).__name__})",
        "Pass a dict, or fix its conversion",
    )
    refusal.__cause__ = error
    return refusal
