"""What a persistence layer claims, and what the suite may do to it."""

import ast
import inspect
import textwrap
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeGuard


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a layer claims. The report lists a check that needs an unclaimed capability as not offered."""

    fenced: bool | None = None
    """An attempt that outlived its lease can neither change nor remove a record that others stored since.
    Without a claim, this is tested for a layer with the two methods. By the four documented methods no
    attempt can be fenced, unless the layer compares the record's ``owner``."""

    durable: bool = False
    """An acknowledged record survives the process that wrote it."""

    threads: bool = True
    """Several threads, or tasks, may use one layer object at once."""

    loops: bool = True
    """Several event loops may use one async layer object, one after the other, as with a second
    ``asyncio.run``."""

    processes: bool | None = None
    """Layers in other processes see the same records. Without a claim, this is tested if another layer object
    and another process see them. If you claim it and they do not, the layer is broken."""

    forks: bool | None = None
    """After ``os.fork``, parent and child may both use one layer object. Without a claim, this is tried, and
    the report says what failed. If you claim it and it fails, the layer is broken."""

    movable_clock: bool = True
    """The suite may move the wall clock of this process. Set it to False if the client signs requests or
    checks certificates by that clock, or if the store uses its own clock, as a native time to live does. For
    a four-method layer, checks that depend on time are then not offered."""

    largest_response: int = 300_000
    """The largest response that the layer stores (bytes of UTF-8)."""

    client_methods: tuple[str, ...] = ()
    """Where races pause, if the suite cannot find the layer's client: methods that send requests to the
    store, as attribute paths from the layer, such as ``"_pool.connection.execute"``. The suite finds clients
    of redis, valkey, boto3, aiobotocore, sqlite3, psycopg, asyncpg, SQLAlchemy, PyMySQL, mysql-connector and
    pymongo. Without a client, races pause at each line of the layer's own source."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a value of the wrong type or out of range."""
        for each in fields(self):
            value = getattr(self, each.name)
            allowed, what = True, ""
            if each.default is None:
                allowed, what = value is None or isinstance(value, bool), "True, False or None"
            elif isinstance(each.default, bool):
                allowed, what = isinstance(value, bool), "True or False"
            elif isinstance(each.default, int):
                allowed, what = is_whole(value) and value > 0, "a whole number above 0"
            elif isinstance(each.default, tuple):
                allowed = isinstance(value, tuple | list) and all(map(_is_path, value))
                what = 'a tuple of paths such as "_pool.connection.execute"'
            if not allowed:
                raise ValueError(f"The claim {each.name} must be {what}, not {value!r}.")


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether ``value`` is an ``int``, but not a ``bool``."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_path(value: object) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


class ClaimField(NamedTuple):
    """One field of :class:`Capabilities`: its name, default and description."""

    name: str
    default: bool | int | tuple[str, ...] | None
    says: str


def claims() -> list[ClaimField]:
    """Return the fields of :class:`Capabilities` with their docstrings, for the class of tests."""
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(Capabilities))).body
    except OSError:  # installed without its source
        descriptions: dict[str, str] = {}
    else:
        assert isinstance(body, ast.ClassDef)
        descriptions = {
            before.target.id: " ".join(str(after.value.value).split())
            for before, after in zip(body.body, body.body[1:], strict=False)
            if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        }
    defaults = Capabilities()
    names = [each.name for each in fields(Capabilities)]
    return [ClaimField(name, getattr(defaults, name), descriptions.get(name, "")) for name in names]
