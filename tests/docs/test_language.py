"""What users read is in plain English: words of ``words.toml`` are kept out, as the style guide says."""

from pathlib import Path

import pytest

from language import ROOT, Hit, exceptions, excused, hits, unneeded, words

STYLE = ROOT / "docs" / "contributing" / "style.md"


@pytest.fixture(scope="module")
def found() -> list[Hit]:
    return hits(ROOT, words())


def test_no_word_of_the_list_is_in_what_users_read(found: list[Hit]) -> None:
    allowed, instead = exceptions(), words()
    wrong = [
        f"{hit.path}:{hit.line}: {hit.found!r}; write: {instead[hit.pattern]}"
        for hit in found
        if excused(hit, allowed) is None
    ]
    assert wrong == []


def test_no_exception_is_kept_longer_than_needed(found: list[Hit]) -> None:
    assert unneeded(found, exceptions()) == [], "run python tests/support/language.py --prune"


def test_the_style_guide_shows_how_to_list_the_words() -> None:
    assert "`python tests/support/language.py`" in STYLE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("page.md", "# A page\n\nA diagram tells\nthe trace of it.\n", 4),
        ("page.md", "```py\nx\n```\n\nStory.\n", 5),
        ("page.md", "[a trace](https://example.com)\n", 1),
        ("page.md", "<details><summary>the trace</summary></details>\n", 1),
        ("page.md", "| a | trace |\n", 1),
        ("page.md", "A stray ` tick\n\nand a trace, and another ` tick\n", 3),
        ("code.py", '"""A module.\n\nIt has a trace.\n"""\n', 3),
        ("code.py", 'raise ValueError(f"No trace {1}.")\n', 1),
        ("code.py", 'help = (\n    "A long "\n    "trace."\n)\n', 2),
    ],
)
def test_prose_is_searched(tmp_path: Path, name: str, text: str, line: int) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert hits(tmp_path, ["stor(?:y|ies)"]) == [
        Hit(name, line, "stor(?:y|ies)", text[text.lower().index("trace") :][:5])
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.md", "```text\nthe trace\n```\n"),
        ("page.md", "1. A list:\n\n   ```text\n   the trace\n   ```\n"),
        ("page.md", "````md\n```\nthe trace\n```\n````\n"),
        ("page.md", "The `trace` of it, and ``a `trace` ``.\n"),
        ("page.md", "[it](trace.md) and <!-- the trace -->\n"),
        ("page.md", "The layer tells-a-trace-of-it and history.\n"),
        ("code.py", '"""A ``trace`` of it."""\nstory = 1  # noqa\nkind = "trace"\n'),
        ("tests/code.py", '"""A trace of it."""\n'),
        (".hidden/page.md", "A trace.\n"),
    ],
)
def test_code_and_names_are_not(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert hits(tmp_path, ["trace"]) == []


@pytest.mark.parametrize(
    ("path", "suffix", "is_excused"),
    [
        ("spec/model.py", "spec/model.py", True),
        ("idemproof/spec/model.py", "spec/model.py", True),
        ("idemproof/otherspec/model.py", "spec/model.py", False),
        ("README.md", "README.md", True),
        ("spec/README.md", "README.md", False),
    ],
)
def test_an_exception_moves_with_its_file(path: str, suffix: str, is_excused: bool) -> None:
    hit = Hit(path, 1, "trace", "trace")
    assert (excused(hit, {suffix: ["trace"]}) == suffix) is is_excused
    assert excused(hit, {suffix: ["samples?"]}) is None
    assert unneeded([hit], {suffix: ["trace", "samples?"]})[-1] == (suffix, "samples?")
