"""The clauses of the packaged ``protocol.md``, and the tests that prove each of them."""

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
"""The keyword of the rows of the table. They contain none, because ROW-0 makes all of them binding."""


class Clause(NamedTuple):
    """One numbered clause of the protocol.

    Parameters
    ----------
    id
        The permanent identifier, such as ``INV-3``.
    heading
        The heading of the section that contains the clause.
    keyword
        The keyword of RFC 2119.
    text
        The text of the clause, on one line with single spaces.
    """

    id: str
    heading: str
    keyword: str
    text: str

    @property
    def binding(self) -> bool:
        """Whether the clause is a requirement, so that a test can find it broken."""
        return self.keyword in ("MUST", "MUST NOT")

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


class Proof(NamedTuple):
    """The tests of a clause, and the hash of the text that they were last compared with."""

    fingerprint: str
    tests: tuple[str, ...]


def protocol_text() -> str:
    """Return ``protocol.md`` as it is installed."""
    return (files("idemproof.spec") / PROTOCOL).read_text(encoding="utf-8")


def clauses_of(text: str) -> dict[str, Clause]:
    """Parse the clauses of a protocol, and return them by id in the order of the text.

    The text of a clause may continue on indented lines. How it is wrapped does not matter.

    Parameters
    ----------
    text
        The whole of ``protocol.md``.

    Raises
    ------
    ValueError
        The text defines an id twice, or a clause has no keyword.
    """
    found: dict[str, Clause] = {}
    for heading, name, words in _statements(text):
        if name in found:
            raise ValueError(f"The protocol defines the clause {name} twice. Give one of them a new id.")
        in_table = isinstance(words, tuple)
        clause_text = " | ".join(words) if in_table else " ".join(words)
        keyword = _KEYWORD.search(clause_text)
        if keyword is None and not in_table:
            raise ValueError(f"The clause {name} has none of the keywords MUST, MUST NOT, SHOULD, MAY.")
        found[name] = Clause(name, heading, keyword.group() if keyword else _KEYWORD_OF_ROWS, clause_text)
    return found


def _statements(text: str) -> Iterator[tuple[str, str, "list[str] | tuple[str, ...]"]]:
    """Yield the heading, id and content of each clause: a bullet as words, a row as a tuple of cells."""
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
    """Parse the output of :func:`snapshot_of`."""
    stored: dict[str, Any] = json.loads(snapshot)
    return {name: Proof(entry["text"], tuple(entry["tests"])) for name, entry in stored.items()}


def proofs() -> dict[str, Proof]:
    """Return the snapshot ``traceability.json`` as it is installed."""
    return proofs_of((files("idemproof.spec") / SNAPSHOT).read_text(encoding="utf-8"))


def snapshot_of(clauses: Iterable[Clause], tests: Mapping[str, Iterable[str]]) -> str:
    """Return JSON that records which tests were compared with which text.

    Parameters
    ----------
    clauses
        All clauses, in the order of the protocol.
    tests
        The ids of the tests of each clause, by the id of the clause.
    """
    entries = {
        clause.id: {"text": clause.fingerprint, "tests": sorted(tests.get(clause.id, ()))}
        for clause in clauses
    }
    return json.dumps(entries, indent=1) + "\n"
