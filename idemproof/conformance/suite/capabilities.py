"""What a persistence layer claims, and what a suite may do to it."""

import ast
import inspect
import textwrap
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeGuard


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a layer claims. What it does not claim is reported as not offered, and never quietly left out."""

    fenced: bool = True
    """A run that outlived its lease can neither change nor remove what others have stored since."""

    durable: bool = False
    """What it has acknowledged outlives the process that wrote it."""

    threads: bool = True
    """One layer object may be used by several threads, or tasks, at once."""

    processes: bool = True
    """Layers of other processes see the same records. Only asked if another layer object sees them."""

    movable_clock: bool = True
    """The wall clock of this process may be moved under it. No, if its client signs requests or checks
    certificates by that clock; and no, if its store decides by a clock of its own, as a native time to live
    does: then what depends on time is not judged for layers by the four methods."""

    largest_response: int = 300_000
    """The longest response, in bytes of UTF-8, that it stores."""

    client_methods: tuple[str, ...] = ()
    """Where races are to pause, if the layer's client cannot be found: methods that ask the store, as paths
    of attributes from the layer, such as ``"_pool.connection.execute"``. Clients of redis, valkey, boto3,
    aiobotocore and sqlite3 are found; without any, races pause at each line of the layer's own source."""

    def __post_init__(self) -> None:
        """Refuse, by a ``ValueError``, what no layer can claim."""
        for each in fields(self):
            value = getattr(self, each.name)
            allowed, what = True, ""
            if isinstance(each.default, bool):
                allowed, what = isinstance(value, bool), "True or False"
            elif isinstance(each.default, int):
                allowed, what = is_whole(value) and value > 0, "a whole number above 0"
            elif isinstance(each.default, tuple):
                allowed = isinstance(value, tuple | list) and all(map(_is_path, value))
                what = 'a tuple of paths such as "_pool.connection.execute"'
            if not allowed:
                raise ValueError(f"The claim {each.name} is to be {what}, not {value!r}.")


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether it is a number without a fraction; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_path(value: object) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


class Claim(NamedTuple):
    """One field of :class:`Capabilities`: its name, what is assumed, and what it says."""

    name: str
    default: bool | int | tuple[str, ...]
    says: str


def claims() -> list[Claim]:
    """Return the fields of :class:`Capabilities` with what their docstrings say, for other ways in."""
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(Capabilities))).body
    except OSError:  # installed without its source
        said: dict[str, str] = {}
    else:
        assert isinstance(body, ast.ClassDef)
        said = {
            before.target.id: " ".join(str(after.value.value).split())
            for before, after in zip(body.body, body.body[1:], strict=False)
            if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        }
    assumed = Capabilities()
    names = [each.name for each in fields(Capabilities)]
    return [Claim(name, getattr(assumed, name), said.get(name, "")) for name in names]
