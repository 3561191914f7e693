"""The clauses of ``protocol.md``, and the tests that prove each: what is read of the packaged text."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from ..spec.tables import BEGIN, END

PROTOCOL = "protocol.md"
SNAPSHOT = "traceability.json"

_HEADING = re.compile(r"#+ (.+)")
_BULLET = re.compile(r"- \*\*([A-Z]+-\d+)\*\* (.+)")
_ROW = re.compile(r"\| ([A-Z]+-\d+) \| (.+) \|")
_KEYWORD = re.compile(r"\b(?:MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\b")

_KEYWORD_OF_ROWS = "MUST"
"""The rows of the table name no keyword of their own: that they decide is what ROW-0 says."""


class Clause(NamedTuple):
    """One numbered clause of the protocol.

    Parameters
    ----------
    id
        Its own for ever, such as ``INV-3``.
    heading
        The section that it stands in.
    keyword
        The keyword of RFC 2119.
    text
        What it says, on one line with single spaces.
    """

    id: str
    heading: str
    keyword: str
    text: str

    @property
    def binding(self) -> bool:
        """Whether it demands something, so that a test can find it broken."""
        return self.keyword in ("MUST", "MUST NOT")

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of its text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


class Proof(NamedTuple):
    """The tests of a clause, and the fingerprint of the text that they were last compared with."""

    fingerprint: str
    tests: tuple[str, ...]


def protocol_text() -> str:
    """Return ``protocol.md`` as it is installed."""
    return (files("idemproof.spec") / PROTOCOL).read_text(encoding="utf-8")


def clauses_of(text: str) -> dict[str, Clause]:
    """Read the clauses of a protocol, in its order.

    A clause may be wrapped: its text goes on over indented lines, and how it is wrapped does not matter.

    Parameters
    ----------
    text
        The whole of ``protocol.md``.

    Raises
    ------
    ValueError
        An id is given twice, or a clause has no keyword.
    """
    found: dict[str, Clause] = {}
    for heading, name, words in _statements(text):
        if name in found:
            raise ValueError(f"The protocol gives the id {name} twice.")
        in_table = isinstance(words, tuple)
        said = " | ".join(words) if in_table else " ".join(words)
        keyword = _KEYWORD.search(said)
        if keyword is None and not in_table:
            raise ValueError(f"The clause {name} has none of the keywords MUST, MUST NOT, SHOULD, MAY.")
        found[name] = Clause(name, heading, keyword.group() if keyword else _KEYWORD_OF_ROWS, said)
    return found


def _statements(text: str) -> Iterator[tuple[str, str, "list[str] | tuple[str, ...]"]]:
    """Give each clause with its heading: a bullet as a list of words, a row as a tuple of cells."""
    heading, name, words, in_table = "", "", list[str](), False
    for line in [*text.splitlines(), ""]:
        if name and line.startswith(" ") and line.strip():
            words += line.split()
            continue
        if name:
            yield heading, name, words
            name = ""
        in_table = (in_table or line == BEGIN) and line != END
        if title := _HEADING.fullmatch(line):
            heading = title[1]
        elif bullet := _BULLET.fullmatch(line):
            name, words = bullet[1], bullet[2].split()
        elif in_table and (row := _ROW.fullmatch(line)):
            yield heading, row[1], tuple(" ".join(cell.split()) for cell in row[2].split("|"))


def proofs_of(snapshot: str) -> dict[str, Proof]:
    """Read what :func:`snapshot_of` wrote."""
    stored: dict[str, Any] = json.loads(snapshot)
    return {name: Proof(entry["text"], tuple(entry["tests"])) for name, entry in stored.items()}


def proofs() -> dict[str, Proof]:
    """Return the snapshot ``traceability.json`` as it is installed."""
    return proofs_of((files("idemproof.spec") / SNAPSHOT).read_text(encoding="utf-8"))


def snapshot_of(clauses: Iterable[Clause], tests: Mapping[str, Iterable[str]]) -> str:
    """Write down which tests were compared with which text.

    Parameters
    ----------
    clauses
        All clauses, in their order.
    tests
        The ids of the tests of each clause, by its id.
    """
    entries = {
        clause.id: {"text": clause.fingerprint, "tests": sorted(tests.get(clause.id, ()))}
        for clause in clauses
    }
    return json.dumps(entries, indent=1) + "\n"
