"""The judge is bounded: in the hosts that it talks to, in the number of its requests, and in time."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broken_services import SERVICES
from broken_services.foundation import Call, Reply, Service
from broken_services.serving import in_thread, target_for
from idemproof.conformance.http.baseline import NothingToJudge
from idemproof.conformance.http.places import Place, PlaceError, place_of
from idemproof.conformance.http.runner import check_http
from idemproof.conformance.http.shell import curl
from idemproof.conformance.http.target import Limits
from idemproof.conformance.http.wire import Request

pytestmark = pytest.mark.once


@contextmanager
def listening(answer: bytes, *, then_close: bool = True) -> Iterator[str]:
    """Answer each connection with some bytes, and yield the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    ended = threading.Event()
    kept: list[socket.socket] = []

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(1)
            try:
                connection.recv(65536)
                connection.sendall(answer)
            except OSError:
                connection.close()
                continue
            if then_close:
                connection.close()
            else:
                kept.append(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join()
        listener.close()
        for each in kept:
            each.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "0.0.0.0", "[::ffff:192.0.2.1]"])
def test_another_machine_is_refused_without_the_option(host: str) -> None:
    with pytest.raises(PlaceError, match=r"is not this machine.*No request was sent"):
        place_of(f"http://{host}:80", owned=False)
    assert place_of(f"http://{host}:80", owned=True).port == 80


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
def test_this_machine_is_allowed(host: str) -> None:
    assert place_of(f"http://{host}:1", owned=False).port == 1


def test_all_hosts_of_the_target_are_checked_before_anything_is_sent() -> None:
    service = SERVICES["waits"].make(None)
    with in_thread(service) as url:
        for setting in ({"second_service": "http://192.0.2.1/"}, {"effects": {"url": "http://192.0.2.1/"}}):
            with pytest.raises(NothingToJudge, match="is not this machine"):
                check_http(target_for(url, **setting))
    assert service.effects == 0


def test_the_number_of_requests_is_bounded_and_reported() -> None:
    with in_thread(SERVICES["waits"].make(None)) as url:
        report = check_http(target_for(url, effects=None, limits={"requests": 25}), seed=1)
    assert any("Requests sent: 25 to" in note for note in report.notes)
    left = [each for each in report.checks if each.verdict == "not run"]
    assert left
    assert all(each.why_not == "the 25 requests of the target are spent" for each in left)


def test_the_time_is_bounded() -> None:
    with in_thread(SERVICES["waits"].make(None)) as url:
        began = time.monotonic()
        report = check_http(target_for(url, limits={"seconds": 1.5}), seed=1)
        assert time.monotonic() - began < 10
    assert "not run" in {each.verdict for each in report.checks}


@pytest.mark.parametrize(
    ("answer", "then_close"),
    [
        (b"", True),
        (b"", False),
        (b"SSH-2.0-OpenSSH\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000, False),
    ],
)
def test_a_server_that_does_not_answer_ends_the_judgement(answer: bytes, then_close: bool) -> None:
    limits = {"timeout_seconds": 0.5}
    with (
        listening(answer, then_close=then_close) as url,
        pytest.raises(NothingToJudge, match="did not succeed"),
    ):
        check_http(target_for(url, effects=None, limits=limits))


def test_an_endless_answer_is_bounded_in_size() -> None:
    limits = Limits(answer_bytes=10_000, timeout_seconds=2)
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n" * 1
    )
    with listening(answer * 1 + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 20, then_close=False) as url:
        target = target_for(url, effects=None)._replace(limits=limits)
        with pytest.raises(NothingToJudge, match="larger than 10,000 bytes"):
            check_http(target)


class Redirects(Service):
    """Redirects to another host."""

    async def run(self, call: Call) -> Reply:
        if call.path == "/old-orders":
            return Reply(307, [("location", "http://192.0.2.1/orders")], b"")
        return await super().run(call)


def test_a_redirect_to_another_host_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: set[Any] = set()
    connect = socket.create_connection

    def noted(where: Any, **more: Any) -> socket.socket:
        connected.add(where)
        return connect(where, **more)

    with in_thread(Redirects()) as url:
        monkeypatch.setattr(socket, "create_connection", noted)
        report = check_http(target_for(url), seed=1, tiers=("repeats",))
        assert connected == {("127.0.0.1", int(url.rpartition(":")[2]))}
    [check] = [each for each in report.checks if each.name == "a-redirect-can-be-followed"]
    assert check.verdict == "not judged"
    assert check.why_not == "it redirects to another host, http://192.0.2.1, which the judge does not follow"
    assert not any("192.0.2.1" in note for note in report.notes)


def test_a_counter_that_counts_nothing_is_refused() -> None:
    service = SERVICES["waits"].make(None)
    with in_thread(service) as url, pytest.raises(NothingToJudge, match="the number of effects stayed"):
        check_http(target_for(url, effects={"command": "echo 4"}))


def test_a_counter_that_fails_is_refused() -> None:
    with in_thread(SERVICES["waits"].make(None)) as url:
        with pytest.raises(NothingToJudge, match="ended with exit code 3: broken"):
            check_http(target_for(url, effects={"command": "echo broken; exit 3"}))
        with pytest.raises(NothingToJudge, match=r"returned no number at 'a\.b'"):
            check_http(target_for(url, effects={"url": f"{url}/effects", "json": "a.b"}))


def test_without_a_counter_an_effect_is_never_said_to_happen_twice() -> None:
    with in_thread(SERVICES["race-window"].make(None)) as url:
        report = check_http(target_for(url, effects=None), seed=1, tiers=("races",))
    assert {each.consequence.name for each in report.findings} == {"answers differ", "wrong result"}


def test_secrets_of_the_environment_are_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGED_TOKEN", "Bearer alice")
    with in_thread(SERVICES["no-payload-hash"].make(None)) as url:
        target = target_for(url, headers={"Authorization": "${JUDGED_TOKEN}"})
        report = check_http(target, seed=1, tiers=("payloads",))
    text = report.as_json()
    assert report.findings
    assert "Bearer alice" not in text
    assert "${JUDGED_TOKEN}" in text


@pytest.mark.parametrize(
    "setting",
    [
        {"headers": {"Authorization": "${NOT_SET_HERE}"}},
        {"json": {"${NOT_SET_HERE}": 5}},
        {"other_json": {"amount": ["${NOT_SET_HERE}"]}},
        {"tenants": {"second": {"Authorization": "${NOT_SET_HERE}"}}},
        {"requests": {"fails": {"path": "/${NOT_SET_HERE}"}}},
        {"effects": {"url": "http://127.0.0.1:1/${NOT_SET_HERE}"}},
    ],
)
def test_a_variable_that_is_not_set_is_refused_before_anything_is_sent(setting: dict[str, Any]) -> None:
    service = SERVICES["waits"].make(None)
    with in_thread(service) as url, pytest.raises(NothingToJudge, match="NOT_SET_HERE"):
        check_http(target_for(url, **setting))
    assert service.effects == 0


def test_a_variable_with_a_line_break_is_refused_in_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGED_TOKEN", "Bearer alice\r\nX-Admin: yes")
    with in_thread(SERVICES["waits"].make(None)) as url, pytest.raises(NothingToJudge, match="a line break"):
        check_http(target_for(url, headers={"Authorization": "${JUDGED_TOKEN}"}))


@pytest.mark.parametrize(
    "text", ["a'b", "$(touch x) `touch x`", "${TOKEN}$(touch x)", 'say "${TOKEN}" \\ !!']
)
def test_a_command_of_a_report_runs_nothing_else(text: str, tmp_path: Path) -> None:
    sent = Request("POST", "/orders", (("X-Text", text),), text.encode())
    command = curl(sent, Place("http", "127.0.0.1", 80, "127.0.0.1"))
    shell = f"curl() {{ printf '%s\\n' \"$@\"; }}; {command}"
    environment = {"TOKEN": "the token", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, env=environment, capture_output=True, check=True)
    filled = text.replace("${TOKEN}", "the token")
    assert done.stdout.decode().splitlines()[-5:] == [
        f"X-Text: {filled}",
        "-H",
        "Content-Type;",
        "--data-binary",
        filled,
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_this_and_of_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (address, 80)) for address in ("127.0.0.1", "192.0.2.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(PlaceError, match=r"its address is 192\.0\.2\.1"):
        place_of("http://both.example/", owned=False)


def test_a_name_that_is_no_name_is_refused() -> None:
    with pytest.raises(PlaceError, match="has no address"):
        place_of(f"http://{'a' * 64}.example/", owned=False)
