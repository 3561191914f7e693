"""What makes two requests the same, and what makes them different."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idemproof.http import Request
from idemproof.reference.http.canonical import LARGEST_JSON, canonical_json
from idemproof.reference.http.fingerprint import ALL_PARTS, Fingerprint, packed

pytestmark = pytest.mark.once

JSON = ("content-type", "application/json")


def hashed(
    body: bytes = b"{}",
    *headers: tuple[str, str],
    method: str = "POST",
    path: bytes = b"/orders",
    query: bytes = b"",
    **options: Any,
) -> str:
    lines = tuple((name.encode(), value.encode()) for name, value in headers)
    request = Request(method, path, query, lines, body)
    return Fingerprint(lambda text: hashlib.sha256(text).hexdigest(), **options)(request)


DIFFERENT: list[tuple[dict[str, Any], tuple[tuple[str, str], ...]]] = [
    ({}, ()),
    ({"method": "PATCH"}, ()),
    ({"path": b"/order"}, ()),
    ({"path": b"/orders/"}, ()),
    ({"path": b"/%6frders"}, ()),
    ({"query": b"a=1"}, ()),
    ({"query": b"a=1&b=2"}, ()),
    ({"query": b"b=2&a=1"}, ()),
    ({"path": b"/ordersa=1"}, ()),
    ({"body": b""}, ()),
    ({"body": b"{ }"}, ()),
    ({}, (JSON,)),
    ({}, (("content-type", "application/json; charset=latin-1"),)),
    ({}, (("content-type", "application/json"), ("content-encoding", "gzip"))),
    ({}, (("content-encoding", "gzip"),)),
    ({}, (("if-match", '"1"'),)),
    ({}, (("if-none-match", '"1"'),)),
    ({}, (("range", "bytes=0-1"),)),
]


@pytest.mark.clause("HTTP-10")
def test_each_part_counts() -> None:
    found = {
        hashed(options.get("body", b"{}"), *headers, **{k: v for k, v in options.items() if k != "body"})
        for options, headers in DIFFERENT
    }
    assert len(found) == len(DIFFERENT)


@pytest.mark.clause("HTTP-10")
def test_chosen_headers_count_and_no_others() -> None:
    one, two = ("x-tenant", "1"), ("x-tenant", "2")
    assert hashed(b"", one) == hashed(b"", two) == hashed(b"")
    chosen = {"headers": (b"x-tenant",)}
    assert (
        len(
            {
                hashed(b"", one, **chosen),
                hashed(b"", two, **chosen),
                hashed(b"", **chosen),
                hashed(b"", one, one, **chosen),
            }
        )
        == 4
    )


@pytest.mark.clause("HTTP-10")
@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4))
def test_lengths_keep_parts_apart(one: list[bytes], two: list[bytes]) -> None:
    assert (packed(one) == packed(two)) == (one == two)


@pytest.mark.clause("HTTP-10")
def test_a_profile_may_leave_parts_out() -> None:
    parts = tuple(part for part in ALL_PARTS if part == "body")
    assert hashed(b"x", method="PUT", path=b"/a", parts=parts) == hashed(b"x", parts=parts)
    assert hashed(b"x", parts=parts) != hashed(b"y", parts=parts)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def spelt(value: Any, **options: Any) -> bytes:
    return json.dumps(value, **options).encode("utf-8", "surrogatepass")


@pytest.mark.clause("HTTP-11")
@given(VALUES)
def test_spellings_of_one_value_are_equal(value: Any) -> None:
    text = canonical_json(spelt(value))
    assert text == canonical_json(spelt(value, indent=3, sort_keys=True))
    try:
        written = spelt(value, ensure_ascii=False, separators=(" , ", " :  ")).decode().encode()
    except UnicodeDecodeError:
        return  # a lone surrogate has no other spelling
    assert text == canonical_json(written)


@pytest.mark.clause("HTTP-11")
@given(VALUES, VALUES)
def test_different_values_are_different(one: Any, two: Any) -> None:
    same = canonical_json(spelt(one)) == canonical_json(spelt(two))
    assert same == (spelt(one, sort_keys=True) == spelt(two, sort_keys=True))


@pytest.mark.clause("HTTP-10")
def test_types_are_told_apart() -> None:
    texts = [
        *(b"1", b'"1"', b"[1]", b'["1"]', b'{"1":1}', b'{"1":"1"}', b"true", b'"true"', b'"True"', b"null"),
        *(b'"null"', b'"None"', b"[]", b"{}", b'""', b"[[]]", b"[{}]", b"[1,2]", b'["1, 2"]', b'"[1, 2]"'),
        *(
            b'"it\'s"',
            b'"it\\\\\'s"',
            b'"\\""',
            b'"\\u00e9"',
            b'"\\\\xe9"',
            b'"\\ud83d"',
            b'"\\ud83d\\ude00"',
        ),
    ]
    assert len({canonical_json(text) for text in texts}) == len(texts)


AMBIGUOUS = [
    b'{"a":1,"a":1}',
    b'{"a":NaN}',
    b"[Infinity]",
    b"\xef\xbb\xbf{}",
    b"[" * 65 + b"]" * 65,
    b"[" * 100_000,
    b'"\xff"',
    b"{}x",
    b"",
    '{"a":1}'.encode("utf-16"),
    b'"' + b"x" * LARGEST_JSON + b'"',
]


@pytest.mark.clause("HTTP-11")
@pytest.mark.parametrize("body", AMBIGUOUS, ids=range(len(AMBIGUOUS)))
def test_what_readers_disagree_about_is_compared_as_it_is(body: bytes) -> None:
    assert canonical_json(body) is None
    assert hashed(body, JSON) != hashed(body + b" ", JSON)


@pytest.mark.clause("HTTP-11")
def test_numbers_count_as_they_are_written_unless_their_values_are_compared() -> None:
    texts = [
        b"1",
        b"1.0",
        b"10e-1",
        b"0.1E1",
        b"100000000000000000000000000000001",
        b"100000000000000000000000000000002",
    ]
    assert len({canonical_json(text) for text in texts}) == 6
    by_value = {canonical_json(text, "value") for text in texts}
    assert len(by_value) == 3
    assert canonical_json(b"-0", "value") == canonical_json(b"0.00", "value")
    assert canonical_json(b"1e400", "value") != canonical_json(b"1e401", "value")
    assert (
        canonical_json(b"120", "value") == canonical_json(b"1.2e2", "value") != canonical_json(b"12", "value")
    )


@pytest.mark.clause("HTTP-11")
def test_json_that_is_encoded_or_of_another_type_is_compared_as_it_is() -> None:
    pair = b'{"a":1}', b'{ "a":1}'
    for header in (JSON, ("content-type", "Application/Problem+JSON; charset=UTF-8")):
        assert hashed(pair[0], header) == hashed(pair[1], header)
    for headers in (
        (("content-type", "text/plain"),),
        (JSON, ("content-encoding", "identity")),
        (("content-type", "application/json;charset=utf-16"),),
        (),
    ):
        assert hashed(pair[0], *headers) != hashed(pair[1], *headers)


def multipart(boundary: str, *parts: str, quotes: str = "") -> tuple[bytes, tuple[str, str]]:
    body = "".join(
        f"--{boundary}\r\nContent-Disposition: form-data; name=a\r\n\r\n{part}\r\n" for part in parts
    )
    kind = f"multipart/form-data; boundary={quotes}{boundary}{quotes}"
    return f"{body}--{boundary}--\r\n".encode(), ("content-type", kind)


@pytest.mark.clause("HTTP-12")
def test_the_boundary_does_not_count() -> None:
    assert hashed(*multipart("x", "1", "2")) == hashed(*multipart("another", "1", "2", quotes='"'))
    assert hashed(*multipart("x", "1", "2")) != hashed(*multipart("x", "12"))
    assert hashed(*multipart("x", "1", "2")) != hashed(*multipart("x", "2", "1"))


@pytest.mark.clause("HTTP-12")
def test_a_malformed_body_counts_with_its_boundary() -> None:
    for body in (
        b"--x\r\n\r\n1\r\n--x",
        b"junk\r\n--x\r\n\r\n1\r\n--x--",
        b"--xy\r\n\r\n1\r\n--xy--\r\n--x--",
    ):
        one = hashed(body, ("content-type", "multipart/form-data; boundary=x"))
        two = hashed(body, ("content-type", "multipart/form-data; boundary=z"))
        assert one != two
    inside = 'multipart/form-data; a="; boundary=x"; boundary=y'
    assert hashed(*multipart("y", "1")[:1], ("content-type", inside)) != hashed(
        multipart("x", "1")[0], ("content-type", inside)
    )


@given(st.binary(max_size=40), st.text(max_size=40))
def test_any_body_of_any_type_has_a_hash(body: bytes, kind: str) -> None:
    for name in (kind, f"multipart/mixed; boundary={kind}", "application/json"):
        request = Request("POST", b"/", b"", ((b"content-type", name.encode("utf-8", "replace")),), body)
        assert Fingerprint(lambda text: hashlib.sha256(text).hexdigest())(request)


@pytest.mark.clause("HTTP-10")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("multipart/form-data; boundary=A; boundary=B", "multipart/form-data; boundary=B; boundary=A"),
        ("text/plain; charset=utf-8; charset=latin-1", "text/plain; charset=latin-1; charset=utf-8"),
        ("text/plain; charset=utf-8; charset=latin-1", "text/plain; charset=latin-1"),
    ],
)
def test_the_order_of_a_parameter_that_is_there_twice_counts(one: str, other: str) -> None:
    body = b"--A\r\n\r\n1\r\n--B\r\n\r\n2\r\n--A--"
    assert hashed(body, ("content-type", one)) != hashed(body, ("content-type", other))
    assert hashed(body, ("content-type", "x/y; b=2; a=1")) == hashed(body, ("content-type", "x/y; a=1; b=2"))
