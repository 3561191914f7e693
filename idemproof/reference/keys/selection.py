"""What one expression selects from payloads, and the text that is hashed."""

from collections.abc import Callable
from marshal import dumps as _prove
from typing import TYPE_CHECKING, Any

from jmespath.parser import ParsedResult

from ..jmespath_functions import bounded_unpacking, unpacks
from .encoding import encoder
from .missing import Expectation
from .opening import SCALARS
from .paths import compiled
from .plain import locate, plain
from .refusals import Refused
from .searching import OpeningInterpreter

if TYPE_CHECKING:
    from ..config import IdempotencyConfig

_written = encoder.encode


class Selection:
    """One expression of a configuration, at work.

    Parameters
    ----------
    name
        The parameter that it was given as.
    expression
        Its text; empty for the whole payload.
    parsed
        The same, parsed.
    config
        The rest of the configuration.
    """

    __slots__ = ("_bound", "_expectation", "_reveal", "_search", "_visit", "expression", "name")

    def __init__(
        self, name: str, expression: str, parsed: ParsedResult | None, config: "IdempotencyConfig"
    ) -> None:
        self.name = name
        self.expression = expression
        self._reveal = config.keyed
        node = None if parsed is None else parsed.parsed
        options = config.search_options
        self._visit: Callable[[Any, Any], Any] = OpeningInterpreter(options, reveal=self._reveal).visit
        make_dict = dict if options.dict_cls is None else options.dict_cls
        self._search: Any = None if node is None else compiled(node, self._visit, make_dict)
        self._bound = config.max_unpacked_bytes if unpacks(node) else None
        self._expectation = None if node is None else Expectation(node)

    def of(self, data: Any) -> Any:
        """Return what is selected.

        Parameters
        ----------
        data
            What the payload stands for; see `as_plain_data`.
        """
        if self._bound is None:
            return self._search(data)
        with bounded_unpacking(self._bound):
            return self._search(data)

    def missing(self, selected: Any, data: Any) -> list[str]:
        """Return how to call each part that the expression names and does not find.

        Parameters
        ----------
        selected
            What `of` gave.
        data
            What it was searched in.
        """
        expectation = self._expectation
        if expectation is None or not expectation.is_doubtful(selected):
            return []
        if self._bound is None:
            return expectation.missing(selected, data, self._visit)
        with bounded_unpacking(self._bound):
            return expectation.missing(selected, data, self._visit)

    def text(self, selected: Any) -> str:
        """Return the JSON text of what was selected."""
        kind = type(selected)
        if kind in SCALARS or (kind is list and SCALARS.issuperset(map(type, selected))):
            return _written(selected)
        try:
            # Proves that all of it is exactly what JSON knows, in a fraction of the time of a look.
            _prove(selected)
        except ValueError:
            selected = plain(selected, reveal=self._reveal)
        return _written(selected)

    def resolved(self, selected: Any) -> Any:
        """Return the plain data of a selected value; see `plain`."""
        return plain(selected, reveal=self._reveal)

    def located(self, selected: Any, error: Exception) -> Refused:
        """Return where what was selected cannot be encoded, and why."""
        return error if isinstance(error, Refused) else locate(selected, error, reveal=self._reveal)
