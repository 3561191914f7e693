"""Why a payload gives no key, said without showing any part of it."""

from typing import Any

from ..places import type_name


class Refused(Exception):  # noqa: N818 - internal: what becomes the error
    """Something that was selected cannot stand in a key.

    Parameters
    ----------
    what
        What is wrong, to be read after the place: "is a secret ...".
    ways
        What to do about it: two ways out.
    """

    def __init__(self, what: str, ways: str) -> None:
        super().__init__(what)
        self.what = what
        self.ways = ways
        # Where it was found, once that is known.
        self.path = "$"


class Marker:
    """Stands in plain data for a value that its plain form does not tell from others.

    Parameters
    ----------
    value
        The value itself.
    shown
        What the plain form has for it.
    """

    __slots__ = ("shown", "value")

    def __init__(self, value: Any, shown: Any) -> None:
        self.value = value
        self.shown = shown

    def resolve(self) -> Any:
        """Return what may stand in a key.

        Raises
        ------
        Refused
            Nothing may.
        """
        raise NotImplementedError


_WAYS = "Set hash_secret in the configuration, so that keys are HMACs and can hold it, or select other fields"


class Secret(Marker):
    """A secret, which is written as asterisks."""

    __slots__ = ()

    def resolve(self) -> Any:
        """Refuse: only a derivation with a secret of its own takes it in, by `reveal`."""
        raise Refused(f"is a secret ({kind_of(self.value)}), which plain data shows as asterisks", _WAYS)

    def reveal(self) -> Any:
        """Return the secret, as what JSON can hold."""
        secret = self.value.get_secret_value()
        if isinstance(secret, set | frozenset):
            return SecretSet(list(secret), None)
        return {"bytes": secret.hex()} if isinstance(secret, bytes) else secret


class SecretSet(Secret):
    """Things without an order, with secrets among them."""

    __slots__ = ()

    def resolve(self) -> Any:
        """Refuse, as a secret does."""
        raise Refused("holds secrets, which plain data shows as asterisks", _WAYS)


class KeptOut(Marker):
    """A field that the model's plain form leaves out. An expression that names it finds it."""

    __slots__ = ()

    def resolve(self) -> Any:
        """Refuse: it is found by its name, never as a part of the whole."""
        raise Refused(
            "is kept out of what its model dumps, so operations that differ only there would share a key",
            "Name what identifies the operation, with this field or without it, in an expression such as "
            "[order, account], or do not exclude the field",
        )


class Unselected(KeptOut):
    """A field whose absence from the plain form says its value. An expression that names it finds it."""

    __slots__ = ()

    def resolve(self) -> Any:
        """Return what its place is looked over for: it has none in the whole."""
        return None


def is_secret(value: Any) -> bool:
    """Return whether a value hides another, as Pydantic's ``SecretStr`` does."""
    return callable(getattr(value.__class__, "get_secret_value", None))


def kind_of(value: Any) -> str:
    """Return the name of a value's class, with its module."""
    # A proxy says what it stands for.
    return type_name(value.__class__)


def unreadable(value: Any, looked_for: str) -> Refused:
    """Return the refusal of a path into a value of which nothing is known."""
    return Refused(
        f"looks for {looked_for} in an object of type {kind_of(value)}, which no expression can read",
        "Pass a dict, a dataclass or a Pydantic model instead, or name the operation with key=callable",
    )


def hidden(value: Any, looked_for: str) -> Refused:
    """Return the refusal of a path into a secret."""
    kind = kind_of(value.value if isinstance(value, Marker) else value)
    return Refused(
        f"looks for {looked_for} inside of a secret ({kind}), which is one value",
        "Select the secret itself, with hash_secret set in the configuration, or name the operation with "
        "key=callable",
    )


def failed_conversion(value: Any, error: Exception) -> Refused:
    """Return the refusal of a value whose own conversion raised."""
    refusal = Refused(
        f"is of type {kind_of(value)} and could not be turned into plain data ({type(error).__name__})",
        "Pass a dict, or correct its conversion",
    )
    refusal.__cause__ = error
    return refusal
