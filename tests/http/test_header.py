"""The value of the header: what is a key, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idemproof.reference.http.header import MalformedKeyError, parse_key

pytestmark = pytest.mark.once

VISIBLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255).filter(
    lambda text: text.strip(" ") != ""
)


def quoted(text: str) -> bytes:
    return ('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"').encode()


@pytest.mark.clause("HTTP-6")
@given(VISIBLE)
def test_every_text_in_quotes_is_itself(text: str) -> None:
    assert parse_key([quoted(text)]) == text
    assert (
        parse_key(
            [
                b"  "
                + quoted(text)
                + b' ; a;b=1;c="x, \\"y";d=?1;e=:AQ==:;f=tok/en;g=-1.5'.replace(b" ;", b";", 1)
            ]
        )
        == text
    )


@pytest.mark.clause("HTTP-6")
@pytest.mark.parametrize(
    ("line", "key"),
    [
        (b'"k"', "k"),
        (b'"k";v=1', "k"),
        (b'"k"; v', "k"),
        (b'"a\\"b\\\\c"', 'a"b\\c'),
        (b'" k "', " k "),
        (b'"' + b"x" * 255 + b'"', "x" * 255),
    ],
)
def test_a_string_is_a_key(line: bytes, key: str) -> None:
    assert parse_key([line]) == key
    assert parse_key([line], "either") == key


MALFORMED = [
    *(
        b"",
        b"k",
        b"'k'",
        b'"',
        b'""',
        b'"   "',
        b'"k',
        b'k"',
        b'"k" x',
        b'"k"x',
        b'"k" ;a',
        b'"k";',
        b'"k";A',
        b'"k";a=',
    ),
    *(
        b'"a","a"',
        b'"a", "b"',
        b'("a")',
        b'"\\k"',
        b'"k\x7f"',
        b'"\xc3\xa9"',
        b'"a\tb"',
        b":aGk=:",
        b"?1",
        b"12",
    ),
    *(b'"' + b"x" * 256 + b'"', b'"k";a=1.2345', b'"k";a=1234567890123456', b'"k"' + b";a" * 5000),
]


@pytest.mark.clause("HTTP-7")
@pytest.mark.parametrize("line", MALFORMED, ids=range(len(MALFORMED)))
def test_another_form_is_refused(line: bytes) -> None:
    with pytest.raises(MalformedKeyError):
        parse_key([line])


@pytest.mark.clause("HTTP-7")
@pytest.mark.parametrize("lines", [[], [b'"k"', b'"k"'], [b'"k"', b'"l"']])
@pytest.mark.parametrize("form", ["quoted", "bare", "either"])
def test_several_lines_are_refused_even_if_they_are_equal(lines: list[bytes], form: str) -> None:
    with pytest.raises(MalformedKeyError, match=f"it has {len(lines)} field lines"):
        parse_key(lines, form)  # type: ignore[arg-type]  # one of the forms


@pytest.mark.clause("HTTP-6", "HTTP-7")
def test_a_bare_value_has_its_own_grammar() -> None:
    assert parse_key([b" abc-1:2;x "], "bare") == "abc-1:2;x"
    assert parse_key([b"k"], "either") == parse_key([b'"k"'], "either") == "k"
    for line in (b'"k"', b"a,b", b"a, b", b"a b", b"\xc3\xa9", b"", b"x" * 256):
        with pytest.raises(MalformedKeyError):
            parse_key([line], "bare")
    for line in (b'"k', b'k"', b'"a","a"', b"a,b"):
        with pytest.raises(MalformedKeyError):
            parse_key([line], "either")


@given(st.binary(max_size=60))
def test_any_line_is_parsed_or_refused_and_its_error_repeats_nothing(line: bytes) -> None:
    try:
        key = parse_key([line], "either")
    except MalformedKeyError as error:
        assert len(line) < 12 or line.decode("latin-1") not in str(error)  # noqa: PT017 - either way is right
    else:
        assert 1 <= len(key) <= 255
        assert key.isascii()
