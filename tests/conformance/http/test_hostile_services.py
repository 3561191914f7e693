"""A service that hangs, cuts connections or answers nonsense ends no run, and is not blamed wrongly."""

import asyncio
import contextlib
import itertools
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from broken_services import SERVICES
from broken_services.foundation import Call, Entry, Receive, Reply, Send, Service, send_reply
from broken_services.serving import in_thread, target_for
from idemproof.conformance.http import answers, case
from idemproof.conformance.http.baseline import NothingToJudge
from idemproof.conformance.http.checks import repeats
from idemproof.conformance.http.checks.repeats import followed_path
from idemproof.conformance.http.runner import check_http
from idemproof.conformance.http.wire import Answer
from idemproof.conformance.suite.checks import NotJudged
from idemproof.conformance.suite.report import CheckResult, Report

pytestmark = pytest.mark.once


def named(report: Report, name: str) -> CheckResult:
    return next(each for each in report.checks if each.name == name)


def whys(report: Report) -> list[str]:
    return [each.why for each in report.findings]


class HangsOnRepeats(Service):
    """Never answers a repeat."""

    async def meet(self, entry: Entry) -> None:
        await asyncio.sleep(3600)


def test_a_repeat_that_hangs_is_found_and_ends() -> None:
    with in_thread(HangsOnRepeats()) as url:
        limits = {"timeout_seconds": 0.5}
        report = check_http(target_for(url, limits=limits, requests=None), seed=1, tiers=("repeats",))
    assert "A request was repeated, and got no complete answer: it did not end within 0.5 seconds." in whys(
        report
    )


def test_a_request_that_the_end_of_the_run_cuts_is_not_blamed() -> None:
    with in_thread(HangsOnRepeats()) as url:
        began = time.monotonic()
        report = check_http(
            target_for(url, effects=None, limits={"seconds": 1.5}), seed=1, tiers=("repeats", "races")
        )
        assert time.monotonic() - began < 10
    assert whys(report) == []
    assert "not run" in report.tiers.values()


@contextlib.contextmanager
def cutting(url: str, is_cut: Any) -> Iterator[str]:
    """Stand in front of a service, and close each connection for whose number ``is_cut`` returns true."""
    port = int(url.rpartition(":")[2])
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    numbers = itertools.count(1)

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def stand_between(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=pass_on, args=(server, client))
            back.start()
            pass_on(client, server)
            back.join()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if is_cut(next(numbers)):
                    client.close()
                else:
                    threading.Thread(target=stand_between, args=(client,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_connections_that_end_without_an_answer_are_not_blamed() -> None:
    service = SERVICES["waits"].make(None)
    with in_thread(service) as direct, cutting(direct, lambda number: number % 7 == 5) as url:
        effects = {"url": f"{direct}/effects", "json": "count"}
        target = target_for(url, effects=effects, requests=None, tenants=None)
        report = check_http(target, seed=1, tiers=("repeats", "payloads"))
    assert whys(report) == []
    assert named(report, "a-repeat-has-no-second-effect").verdict == "kept"


class ClosesOnRepeats(Service):
    """Closes the connection of each repeat in the midst of the answer."""

    async def protected(self, call: Call, receive: Receive, send: Send) -> None:
        if self.current(self.name_of(call)) is None:
            await super().protected(call, receive, send)
            return
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ConnectionError


def test_a_service_that_always_cuts_repeats_is_found() -> None:
    with in_thread(ClosesOnRepeats()) as url:
        report = check_http(target_for(url, requests=None), seed=1, tiers=("repeats",))
    assert {each.consequence.name for each in report.findings} == {"lost result"}


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("http://127.0.0.1:8000/orders?a=b", "/orders?a=b"),
        ("http://127.0.0.1:8000", "/"),
        ("/orders/7", "/orders/7"),
        ("7", "/orders/7"),
        ("//127.0.0.1:8000/x", "/x"),
    ],
)
def test_a_redirect_on_the_same_server_is_followed(location: str, path: str) -> None:
    assert followed_path("http://127.0.0.1:8000", "/orders/old", location) == path


@pytest.mark.parametrize(
    ("location", "why_not"),
    [
        ("http://192.0.2.1/orders", "another host, http://192.0.2.1,"),
        ("//192.0.2.1/orders", "another host, http://192.0.2.1,"),
        ("http://localhost:8000/orders", "another host, http://localhost:8000,"),
        ("http://127.0.0.1:8001/orders", "another host, http://127.0.0.1:8001,"),
        ("https://127.0.0.1:8000/orders", "another host, https://127.0.0.1:8000,"),
        ("mailto:a@example.com", "no address that the judge can follow"),
        ("http://[", "no address that the judge can follow"),
        ("http://127.0.0.1:8000@192.0.2.1/", "no address that the judge can follow"),
        ("/orders 7", "no address that the judge can follow"),
    ],
)
def test_a_redirect_to_another_server_is_not_followed(location: str, why_not: str) -> None:
    with pytest.raises(NotJudged) as raised:
        followed_path("http://127.0.0.1:8000", "/orders/old", location)
    assert why_not in str(raised.value)


class AnswersLargely(Service):
    """Answers with more than the judge reads, if the path says so."""

    def created(self, call: Call) -> Reply:
        reply = super().created(call)
        return reply._replace(body=b"x" * (10 << 20)) if call.path == self.large else reply

    large = "/orders/large"


def test_an_answer_of_10_megabytes_is_not_judged() -> None:
    service = AnswersLargely()
    with in_thread(service) as url:
        target = target_for(url, requests={"large": {"path": "/orders/enormous"}})
        service.large = "/orders/enormous"
        report = check_http(target, seed=1, tiers=("repeats",))
        assert "its body is larger than 8,388,608 bytes" in str(
            named(report, "a-large-answer-is-repeated-whole").why_not
        )
        service.large = "/orders"
        with pytest.raises(NothingToJudge, match="its body is larger than 8,388,608 bytes"):
            check_http(target, seed=1)


def test_a_compressed_answer_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_LARGEST", 1000)
    for kind, window in (("gzip", 31), ("deflate", 15)):
        made = zlib.compressobj(wbits=window)
        body = made.compress(b"0" * 1_000_000) + made.flush()
        packed = Answer(201, (("content-encoding", kind),), body)
        assert answers.decoded(packed) == b"0" * 1000
        assert answers.decoded(packed._replace(body=body[:9])) is None
        assert answers.decoded(packed._replace(body=b"not compressed")) is None
    assert answers.decoded(Answer(201, (("content-encoding", "br"),), b"as it is")) == b"as it is"


class AnswersWith(Service):
    """Answers with a body that a test sets."""

    text = ""

    def created(self, call: Call) -> Reply:
        return super().created(call)._replace(body=self.text.replace("{n}", str(self.effects)).encode())


@pytest.mark.parametrize("body", ["NaN", "[" * 5000, "{n}" * 2000, "\x00\udcff"])
def test_a_body_that_is_strange_json_is_compared(body: str) -> None:
    service = AnswersWith()
    service.text = body.encode("utf-8", "replace").decode()
    with in_thread(service) as url:
        report = check_http(target_for(url, requests=None), seed=1, tiers=("repeats",))
    assert whys(report) == []
    assert named(report, "a-repeat-has-no-second-effect").verdict == "kept"


class ChangesItsAnswers(Service):
    """Writes the time into each answer."""

    def replayed(self, reply: Reply) -> Reply:
        kept = super().replayed(reply)
        return kept._replace(body=json.dumps({**json.loads(kept.body), "at": time.monotonic_ns()}).encode())


def test_a_second_run_with_the_same_seed_is_judged_although_answers_are_kept() -> None:
    with in_thread(SERVICES["waits"].make(None)) as url:
        for _ in range(2):
            report = check_http(target_for(url), seed=1, tiers=("keys",))
            assert whys(report) == []


def test_a_field_that_changes_is_a_difference_unless_it_is_ignored() -> None:
    with in_thread(ChangesItsAnswers()) as url:
        report = check_http(target_for(url, requests=None), seed=1, tiers=("repeats",))
        ignoring = check_http(target_for(url, requests=None, ignore=["at"]), seed=1, tiers=("repeats",))
    assert {each.consequence.name for each in report.findings} == {"answers differ"}
    assert whys(ignoring) == []


@pytest.mark.parametrize("value", ["\xb2", "9" * 5000, "-1", "0", "1e3", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_strange_retry_after_is_ignored(value: str) -> None:
    class Refuses(Service):
        async def answer(self, call: Call, receive: Receive, send: Send) -> None:
            await send_reply(send, Reply(429, [("retry-after", value)], b""))

    with in_thread(Refuses()) as url, pytest.raises(NothingToJudge, match="did not succeed: 429 no body"):
        check_http(target_for(url, effects=None))
    with in_thread(SERVICES["refuses"].make(None)) as url:
        report = check_http(target_for(url, effects=None), seed=1, tiers=("keys",))
    assert whys(report) == []


@pytest.mark.parametrize(
    ("effects", "message"),
    [
        ({"command": "sleep 60"}, "did not end within"),
        ({"command": "yes"}, "printed more than 1,000,000 bytes"),
        ({"command": "exit 3"}, "ended with exit code 3"),
        ({"command": "echo 1e999"}, "returned no number"),
        ({"command": "printf '[%.0s' $(seq 5000)"}, "returned no number"),
        ({"log": "/dev/zero"}, "is not a file"),
        ({"url": "http://127.0.0.1:1/"}, "cannot be reached"),
    ],
)
def test_a_counter_that_fails_is_refused(effects: dict[str, Any], message: str) -> None:
    service = SERVICES["waits"].make(None)
    with in_thread(service) as url:
        began = time.monotonic()
        with pytest.raises(NothingToJudge, match=message):
            check_http(target_for(url, effects=effects, limits={"seconds": 1.5}))
        assert time.monotonic() - began < 10
    assert service.effects == 0


def test_a_counter_that_fails_later_leaves_the_rest_not_judged(tmp_path: Path) -> None:
    log = tmp_path / "effects"
    log.touch()

    class Logs(Service):
        def effect(self) -> None:
            with log.open("a") as file:
                file.write("an effect\n")

    with in_thread(Logs()) as url:
        count = f"test $(wc -l <{log}) -lt 9 || exit 3; wc -l <{log}"
        target = target_for(url, effects={"command": count}, requests=None)
        report = check_http(target, seed=1, tiers=("keys", "races"))
    assert whys(report) == []
    assert "the effects cannot be counted" in {
        str(each.why_not).partition(":")[0] for each in report.checks if each.verdict == "not judged"
    }


class BehindAGateway(Service):
    """Answers 502 three times after each restart, as a gateway does while the service starts."""

    def __init__(self, restarted: Path) -> None:
        super().__init__()
        self.restarted = restarted
        self.refusals = 0

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if self.restarted.exists():
            self.restarted.unlink()
            self.refusals = 3
        if self.refusals:
            self.refusals -= 1
            await send_reply(send, Reply(502, [], b"bad gateway"))
        else:
            await super().__call__(scope, receive, send)


def test_a_gateway_that_answers_earlier_than_its_service_is_waited_for(tmp_path: Path) -> None:
    restarted = tmp_path / "restarted"
    with in_thread(BehindAGateway(restarted)) as url:
        process = {"restart": f"touch {restarted}"}
        report = check_http(target_for(url, process=process), seed=1, tiers=("crashes",))
    assert whys(report) == []
    assert named(report, "an-answer-survives-a-restart").verdict == "kept"


def test_a_service_that_does_not_come_back_is_not_judged() -> None:
    with in_thread(SERVICES["waits"].make(None)) as url:
        process = {"restart": "exit 1", "kill": "sleep 60", "ready_seconds": 0.5}
        report = check_http(target_for(url, process=process), seed=1, tiers=("crashes",))
    assert whys(report) == []
    assert {each.verdict for each in report.checks} == {"not judged", "not offered"}
    assert "ended with exit code 1" in str(named(report, "an-answer-survives-a-restart").why_not)
    assert "did not end within 0 seconds" in str(named(report, "an-answer-survives-a-kill").why_not)


def test_a_service_on_the_loopback_address_of_ipv6_is_judged() -> None:
    with in_thread(SERVICES["waits"].make(None), "::1") as url:
        report = check_http(target_for(url), seed=1, tiers=("payloads",))
        assert report.subject == f"POST {url}/orders"
    assert set(report.tiers.values()) == {"kept"}


def test_a_service_with_https_is_judged(tmp_path: Path) -> None:
    made = trustme.CA().issue_cert("127.0.0.1")
    file, key = tmp_path / "certificate", tmp_path / "key"
    made.cert_chain_pems[0].write_to_path(file)
    made.private_key_pem.write_to_path(key)
    with in_thread(SERVICES["waits"].make(None), certificate=(str(file), str(key))) as url:
        assert url.startswith("https://")
        report = check_http(target_for(url, requests=None), seed=1, tiers=("repeats",))
    assert whys(report) == []
    assert set(report.tiers.values()) == {"kept"}


def test_too_few_other_keys_within_the_window_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_OTHER_KEYS", 10**9)  # more than any machine sends
    with in_thread(SERVICES["waits"].make(None)) as url:
        report = check_http(target_for(url, window_seconds=0.5), seed=1, tiers=("repeats",))
    assert any("other keys, not 1000000000: half of the window of 0.5" in note for note in report.notes)


def test_a_slow_request_may_block_its_key_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "_SLACK", 0.1)
    with in_thread(SERVICES["refuses"].make(None)) as url:
        target = target_for(url, lease_seconds=0.1)
        report = check_http(target, seed=1, tiers=("connections",))
    assert whys(report) == []
