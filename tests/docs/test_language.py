"""What users read is in plain English: words of ``words.toml`` are kept out, as the style guide says."""

from pathlib import Path

import pytest

from language import ROOT, Hit, exceptions, excused, hits, unneeded, words

pytestmark = pytest.mark.once

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
        ("page.md", "# A page\n\nA diagram tells\nthe story of it.\n", 4),
        ("page.md", "```py\nx\n```\n\nStory.\n", 5),
        ("page.md", "[a story](https://example.com)\n", 1),
        ("page.md", "<details><summary>the story</summary></details>\n", 1),
        ("page.md", "| a | story |\n", 1),
        ("page.md", "A stray ` tick\n\nand a story, and another ` tick\n", 3),
        ("code.py", '"""A module.\n\nIt has a story.\n"""\n', 3),
        ("code.py", 'raise ValueError(f"No story {1}.")\n', 1),
        ("code.py", 'help = (\n    "A long "\n    "story."\n)\n', 2),
    ],
)
def test_prose_is_searched(tmp_path: Path, name: str, text: str, line: int) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert hits(tmp_path, ["stor(?:y|ies)"]) == [
        Hit(name, line, "stor(?:y|ies)", text[text.lower().index("story") :][:5])
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.md", "```text\nthe story\n```\n"),
        ("page.md", "1. A list:\n\n   ```text\n   the story\n   ```\n"),
        ("page.md", "````md\n```\nthe story\n```\n````\n"),
        ("page.md", "The `story` of it, and ``a `story` ``.\n"),
        ("page.md", "[it](story.md) and <!-- the story -->\n"),
        ("page.md", "The layer tells-a-story-of-it and history.\n"),
        ("code.py", '"""A ``story`` of it."""\nstory = 1  # noqa\nkind = "story"\n'),
        ("tests/code.py", '"""A story of it."""\n'),
        (".hidden/page.md", "A story.\n"),
    ],
)
def test_code_and_names_are_not(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert hits(tmp_path, ["story"]) == []


@pytest.mark.parametrize(
    ("path", "suffix", "is_excused"),
    [
        ("spec/moves.py", "spec/moves.py", True),
        ("idemproof/spec/moves.py", "spec/moves.py", True),
        ("idemproof/otherspec/moves.py", "spec/moves.py", False),
        ("README.md", "README.md", True),
        ("spec/README.md", "README.md", False),
    ],
)
def test_an_exception_moves_with_its_file(path: str, suffix: str, is_excused: bool) -> None:
    hit = Hit(path, 1, "story", "story")
    assert (excused(hit, {suffix: ["story"]}) == suffix) is is_excused
    assert excused(hit, {suffix: ["animals?"]}) is None
    assert unneeded([hit], {suffix: ["story", "animals?"]})[-1] == (suffix, "animals?")
