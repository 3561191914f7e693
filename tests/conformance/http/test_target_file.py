"""A target is checked before anything is sent, and each error says where it is and what is expected."""

from datetime import date
from pathlib import Path

import pytest

from idemproof.conformance.http.target import Effects, Limits, Process, Template
from idemproof.conformance.http.target_file import TargetFileError, read, target_of

pytestmark = pytest.mark.once

WHOLE = """
url = "http://127.0.0.1:8000/orders?region=eu"
profile = "stripe"
method = "put"
headers = { Authorization = "Bearer ${TOKEN}" }
json = { amount = 5, reference = "{unique}" }
other_json = { amount = 6 }
other_path = "/refunds"
key_required = false
window_seconds = 3
ignore = ["served_at"]

[tenants]
second = { Authorization = "Bearer bob" }

[requests.fails]
path = "/orders/fails"

[requests.multipart]
parts = { amount = 5 }

[effects]
url = "http://127.0.0.1:8000/effects"
json = "count"

[process]
restart = "systemctl restart orders"
ready_seconds = 5

[limits]
requests = 500
"""


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "target.toml"
    file.write_text(WHOLE)
    target = read(file)
    headers = (("Authorization", "Bearer ${TOKEN}"),)
    json = {"amount": 5, "reference": "{unique}"}
    assert target.url == "http://127.0.0.1:8000"
    assert target.request == Template("PUT", "/orders?region=eu", headers, json)
    assert target.other == target.request._replace(json={"amount": 6})
    assert target.second == (("Authorization", "Bearer bob"),)
    assert target.requests["fails"] == Template("PUT", "/orders/fails", headers, json)
    assert target.requests["multipart"].parts == {"amount": "5"}
    assert target.requests["multipart"].json is None
    assert target.effects == Effects("http://127.0.0.1:8000/effects", "count")
    assert target.process == Process(restart="systemctl restart orders", ready_seconds=5.0)
    assert target.limits == Limits(requests=500)
    assert (target.profile, target.key_required, target.window_seconds) == ("stripe", False, 3)
    assert target.ignore == ("served_at",)


URL = {"url": "http://127.0.0.1/"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "has no url"),
        ({"url": "127.0.0.1:8000"}, "must begin with http:// or https://"),
        ({"url": "ftp://127.0.0.1"}, "must begin with http:// or https://"),
        ({"url": "http://a:b@127.0.0.1"}, "contains a password"),
        ({"url": "http://127.0.0.1:99999"}, "is no address"),
        ({**URL, "profil": "ietf"}, "has no 'profil'. Is it 'profile'?"),
        ({**URL, "json": {}, "body": "x"}, "has json and body: use one of them"),
        ({**URL, "headers": {"A": 1}}, "A must be a text, not 1"),
        ({**URL, "headers": "x"}, "headers must be a table"),
        ({**URL, "effects": {}}, "needs exactly one of url, log and command"),
        ({**URL, "effects": {"command": "x", "log": "y"}}, "needs exactly one of url, log and command"),
        ({**URL, "limits": {"requests": 0}}, "requests must be a number above 0, not 0"),
        ({**URL, "limits": {"seconds": True}}, "seconds must be a number above 0, not True"),
        ({**URL, "process": {"keeps_answers": "no"}}, "keeps_answers must be true or false"),
        ({**URL, "requests": {"failing": {}}}, "has no 'failing'. Is it 'fails'?"),
        ({**URL, "requests": {"fails": {"path": "orders"}}}, "must begin with '/'"),
        ({**URL, "window_seconds": float("nan")}, "window_seconds must be a number above 0"),
        ({**URL, "ignore": "x"}, "ignore must be a list of texts"),
        ({**URL, "method": "PO ST"}, "is no method"),
        ({**URL, "headers": {"A": "b\r\nHost: c"}}, "contains a line break"),
        ({**URL, "other_path": "refunds"}, "must begin with '/'"),
        ({**URL, "url": "http://127.0.0.1/a b"}, "contains a space"),
        ({**URL, "effects": {"log": "x", "pattern": "("}}, "is no regular expression"),
        ({**URL, "effects": {"log": "x", "settle_ms": 1.5}}, "settle_ms must be a whole number above 0"),
        ({**URL, "limits": {"requests": 1.5}}, "requests must be a whole number above 0"),
        ({**URL, "limits": {"timeout_seconds": float("inf")}}, "timeout_seconds must be at most"),
        ({**URL, "json": {"a": date(2026, 1, 1)}}, "json is no JSON: Object of type date"),
        ({**URL, "json": {"a": float("nan")}}, "json is no JSON"),
        ({**URL, "other_json": float("inf")}, "other_json is no JSON"),
        ({**URL, "parts": {"a": []}}, "a must be a text or a number"),
        ({**URL, "header": "A: b\r\nC"}, "is no header of HTTP"),
        ({**URL, "key_required": "yes"}, "key_required must be true or false"),
        ({**URL, "tenants": []}, "tenants must be a table"),
        ({**URL, "requests": {"fails": "/x"}}, "fails must be a table"),
        ({**URL, "other_query": "a b"}, "must be encoded"),
        ({**URL, "url": "http://127.0.0.1:0/"}, "has the port 0"),
        ({**URL, "url": "http://[::1"}, "is no address"),
        ({**URL, "second_service": "/orders"}, "must begin with http:// or https://"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(TargetFileError) as raised:
        target_of(values)
    assert message in str(raised.value)


def test_the_usual_port_is_no_part_of_an_origin() -> None:
    assert target_of({"url": "http://127.0.0.1:80/orders"}).url == "http://127.0.0.1"
    assert target_of({"url": "https://[::1]:443/orders"}).url == "https://[::1]"
    assert target_of({"url": "http://LOCALHOST:443/orders"}).url == "http://localhost:443"


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "target.toml"
    with pytest.raises(TargetFileError, match="cannot be read: No such file"):
        read(file)
    with pytest.raises(TargetFileError, match="cannot be read: Is a directory"):
        read(tmp_path)
    file.write_bytes(b"url = \xff")
    with pytest.raises(TargetFileError, match="is not TOML"):
        read(file)
    file.write_text("url = ")
    with pytest.raises(TargetFileError, match="is not TOML"):
        read(file)
