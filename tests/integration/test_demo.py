"""The demo passes for the right reasons, and fails when anything is wrong."""

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import contrast
from idemproof.demo import director as directing
from idemproof.demo.ledger import Charge, Ledger
from idemproof.demo.report import Report
from idemproof.demo.verdict import KILLED, Result, money, no_contrast, problems
from idemproof.demo.webhooks import Delivery, payments, shipped
from idemproof.demo.worker import Answer

ROOT = Path(__file__).parents[2]

Timeline = dict[str, list[tuple[int, str]]]

LINE = re.compile(r"^ *(\d+\.\d\ds)  ([A-C]) \((\d+)\) +(pay_\w{4})  (.+)$", re.MULTILINE)


def run_demo(directory: Path, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the demo as a user would, with warnings as errors, its temporary files under ``directory``."""
    unwanted = ("POWERTOOLS_IDEMPOTENCY_DISABLED", "FORCE_COLOR", "TTY_COMPATIBLE")
    env = {name: value for name, value in os.environ.items() if name not in unwanted}
    env |= {"COLUMNS": "80", "TMPDIR": str(directory), "TEMP": str(directory), **environment}
    return subprocess.run(
        [sys.executable, *([] if environment else ["-W", "error"]), "-m", "idemproof", "demo", *options],
        cwd=directory,
        env=env,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def played(directory: Path) -> "subprocess.CompletedProcess[str]":
    return run_demo(directory)


@pytest.fixture(scope="module")
def timeline(played: "subprocess.CompletedProcess[str]") -> Timeline:
    """What happened to each payment: (process id, words) in order."""
    happened: Timeline = {}
    for _, _, pid, payment, what in LINE.findall(played.stdout):
        happened.setdefault(payment, []).append((int(pid), what))
    return happened


class TestAsACommand:
    def test_it_passes(self, played: "subprocess.CompletedProcess[str]") -> None:
        assert (played.returncode, played.stderr) == (0, "")
        assert "PASS: 27 deliveries, 13 payments, each charged exactly once" in played.stdout

    def test_it_fits_eighty_columns_without_colour(self, played: "subprocess.CompletedProcess[str]") -> None:
        assert max(map(len, played.stdout.splitlines())) <= 80
        assert "\x1b" not in played.stdout
        assert played.stdout.isascii()

    def test_it_prints_what_the_deliveries_do_without_protection(
        self, played: "subprocess.CompletedProcess[str]"
    ) -> None:
        assert "13 payments, 25 charges: 7 payments charged more than once." in played.stdout
        assert "without protection: 7 payments charged more than once" in played.stdout
        assert "with Idemproof:     0 payments charged more than once" in played.stdout

    def test_the_diagram_shows_what_it_prints(self, played: "subprocess.CompletedProcess[str]") -> None:
        diagram = ROOT / "docs" / "assets" / "contrast.svg"
        assert diagram.read_text(encoding="utf-8") == contrast.drawn(played.stdout)
        rows = [list(map(int, row)) for row in contrast.ROW.findall(played.stdout)]
        harmed = sum(unprotected > 1 for _, unprotected, _ in rows)
        words = (
            f"The same {sum(row[0] for row in rows)} webhook deliveries: without protection {harmed} of "
            f"{len(rows)} payments are charged more than once, with Idemproof none"
        )
        for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
            assert f"![{words}](" in page.read_text(encoding="utf-8")

    def test_it_leaves_nothing_behind(
        self, played: "subprocess.CompletedProcess[str]", directory: Path
    ) -> None:
        assert list(directory.iterdir()) == []

    def test_a_duplicate_gets_the_charge_of_the_first_from_another_process(self, timeline: Timeline) -> None:
        (first, charged), (second, replayed) = timeline["pay_8c34"]
        assert charged.startswith("claimed and charged: ch_")
        assert replayed == charged.replace("claimed and charged", "replayed the stored answer")
        assert first != second

    def test_of_concurrent_deliveries_one_charges_while_the_others_are_refused(
        self, timeline: Timeline
    ) -> None:
        happened = timeline["pay_8c3b"]
        assert Counter(what.partition(":")[0] for _, what in happened) == {
            "running": 1,
            "refused": 2,
            "claimed and charged": 1,
            "replayed the stored answer": 1,
        }
        words = [what.partition(":")[0] for _, what in happened]
        # The third process is refused while the run is known to be under way.
        assert "refused" in words[words.index("running") : words.index("claimed and charged")]
        assert len({pid for pid, _ in happened}) == 3

    def test_a_changed_amount_is_refused_and_does_no_harm(self, timeline: Timeline) -> None:
        _, (_, refused), (_, replayed) = timeline["pay_8c41"]
        assert refused == "refused: amount changed to 890.00 EUR"
        assert replayed.startswith("replayed the stored answer")

    def test_json_in_another_order_is_the_same_payment(self, timeline: Timeline) -> None:
        assert timeline["pay_8c47"][1][1].startswith("replayed the stored answer")

    def test_a_killed_workers_payment_is_refused_then_taken_over_then_replayed(
        self, timeline: Timeline
    ) -> None:
        pids, words = zip(*timeline["pay_8c4d"], strict=True)
        assert [re.split(r"[:(]", what)[0].strip() for what in words] == [
            "running",
            "killed",
            "refused",
            "took over after its lease and charged",
            "replayed the stored answer",
        ]
        dead = pids[1]
        assert dead not in pids[2:]

    def test_what_failed_is_released_and_charged_at_the_redelivery(self, timeline: Timeline) -> None:
        assert timeline["pay_8c53"][0][1] == "failed and released: gateway timeout"
        assert timeline["pay_8c53"][1][1].startswith("claimed and charged")

    def test_the_ledger_shows_each_payment_charged_once(
        self, played: "subprocess.CompletedProcess[str]"
    ) -> None:
        rows = re.findall(
            r"^(pay_\w{4}) +(\d[\d.]* [A-Z]{3}) +\d x +\d x +1 x +ch_\w{6}$", played.stdout, re.MULTILINE
        )
        assert dict(rows) == {
            payment.id: money(payment.amount, payment.currency) for payment in payments(shipped()).values()
        }

    def test_a_worker_that_dies_after_the_charge_is_asked_about(
        self, played: "subprocess.CompletedProcess[str]"
    ) -> None:
        without = re.search(
            r"^without on_takeover: charged (ch_\w{6}), killed; charged again: (ch_\w{6})$",
            played.stdout,
            re.MULTILINE,
        )
        asking = re.search(
            r"^with on_takeover:    charged (ch_\w{6}), killed; asked the bank: (ch_\w{6})$",
            played.stdout,
            re.MULTILINE,
        )
        assert without is not None
        assert without[1] != without[2]
        assert asking is not None
        assert asking[1] == asking[2]

    @pytest.mark.nightly
    def test_keep_keeps_the_files_and_says_where(self, tmp_path: Path) -> None:
        played = run_demo(tmp_path, "--keep")
        kept = next(tmp_path.iterdir())
        assert f"The files are kept in {kept}\n" in played.stdout
        assert len(Ledger(kept / "ledger.db").charges()) == 13

    def test_without_protection_it_fails(self, tmp_path: Path) -> None:
        played = run_demo(tmp_path, POWERTOOLS_IDEMPOTENCY_DISABLED="true")
        assert played.returncode == 1
        assert "WRONG: pay_8c34 was charged 2 times" in played.stdout
        assert "with Idemproof:     7 payments charged more than once" in played.stdout
        assert "charged without any claim" in played.stdout
        assert "WRONG: on_takeover was given, and the payment has 2 charges" in played.stdout
        assert "FAIL: " in played.stdout


def answer_with(charge: str) -> Answer:
    return Answer("replayed", {"statusCode": 200, "body": json.dumps({"charge_id": charge})})


@pytest.fixture
def deliveries() -> list[Delivery]:
    return shipped()


@pytest.fixture
def charges(deliveries: list[Delivery]) -> list[Charge]:
    return [
        Charge(f"ch_{payment.id}", payment.id, payment.amount, payment.currency, payment.customer, 1)
        for payment in payments(deliveries).values()
    ]


@pytest.fixture
def results(deliveries: list[Delivery]) -> list[Result]:
    """The correct results of the deliveries, one per second."""
    made: list[Result] = []
    for second, delivery in enumerate(deliveries):
        outcome = "in progress" if "in progress" in delivery.expect else delivery.expect[0]
        if delivery.together is not None and not any(made_.delivery.together for made_ in made):
            outcome = "charged"
        answer = Answer(outcome)
        if outcome in ("charged", "replayed", "took over"):
            answer = replace(answer_with(f"ch_{delivery.payment.id}"), outcome=outcome)
        made.append(Result(delivery, answer, second, second + 0.5))
    return made


def position(results: list[Result], payment: str, outcome: str) -> int:
    return next(
        index
        for index, result in enumerate(results)
        if (result.delivery.payment.id, result.answer.outcome) == (payment, outcome)
    )


def doctored(results: list[Result], payment: str, outcome: str, **changes: Any) -> str:
    index = position(results, payment, outcome)
    results[index] = replace(results[index], **changes)
    return results[index].delivery.id


class TestVerdict:
    def test_a_run_without_protection_that_does_no_harm_is_wrong(self, charges: list[Charge]) -> None:
        assert no_contrast([*charges, charges[0]]) == []
        [wrong] = no_contrast(charges)
        assert "proves nothing" in wrong

    def test_nothing_is_wrong_when_all_is_well(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge]
    ) -> None:
        assert problems(deliveries, results, charges) == []

    def test_a_double_charge_is_wrong(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge]
    ) -> None:
        charges.append(replace(charges[0], id="ch_second"))
        assert problems(deliveries, results, charges) == ["pay_8c21 was charged 2 times"]

    def test_a_missing_charge_is_wrong(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge]
    ) -> None:
        del charges[0]
        lost, answered = problems(deliveries, results, charges)
        assert lost == "pay_8c21 was lost: never charged"
        assert "which is not its charge" in answered

    @pytest.mark.parametrize(
        "change",
        [{"amount": 1}, {"currency": "USD"}, {"customer": "cus_0000"}],
        ids=str,
    )
    def test_a_charge_other_than_asked_for_is_wrong(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge], change: dict[str, Any]
    ) -> None:
        charges[0] = replace(charges[0], **change)
        (wrong,) = problems(deliveries, results, charges)
        assert wrong.startswith("pay_8c21 asked for 49.90 EUR from cus_1907, but ch_pay_8c21 took ")

    def test_a_charge_that_was_not_requested_is_wrong(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge]
    ) -> None:
        charges.append(replace(charges[0], id="ch_x", payment="pay_x"))
        assert problems(deliveries, results, charges) == ["pay_x was charged, but no delivery asked for it"]

    def test_another_answer_than_the_first_is_wrong(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge]
    ) -> None:
        response = {"statusCode": 201, "body": json.dumps({"charge_id": "ch_pay_8c34"})}
        who = doctored(results, "pay_8c34", "replayed", answer=Answer("replayed", response))
        (wrong,) = problems(deliveries, results, charges)
        assert wrong.startswith(f"{who} of pay_8c34 was answered with ch_pay_8c34, but ")

    @pytest.mark.parametrize("charge", ["ch_nobody", "ch_pay_8c21"], ids=["unknown", "of another payment"])
    def test_an_answer_with_a_wrong_charge_is_wrong(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge], charge: str
    ) -> None:
        who = doctored(results, "pay_8c5e", "charged", answer=replace(answer_with(charge), outcome="charged"))
        assert problems(deliveries, results, charges) == [
            f"{who} of pay_8c5e was answered with {charge}, which is not its charge"
        ]

    def test_an_answer_without_a_charge_is_wrong(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge]
    ) -> None:
        doctored(results, "pay_8c5e", "charged", answer=Answer("charged", {"statusCode": 500}))
        (wrong,) = problems(deliveries, results, charges)
        assert "was answered with None" in wrong

    @pytest.mark.parametrize(
        ("payment", "expected", "outcome"),
        [
            ("pay_8c34", "replayed", "in progress"),
            ("pay_8c41", "amount changed", "replayed"),
            ("pay_8c4d", "in progress", "replayed"),
            ("pay_8c53", "failed", "charged"),
            ("pay_8c5e", "charged", "error"),
        ],
    )
    def test_an_unexpected_answer_is_wrong(
        self,
        deliveries: list[Delivery],
        results: list[Result],
        charges: list[Charge],
        payment: str,
        expected: str,
        outcome: str,
    ) -> None:
        who = doctored(results, payment, expected, answer=Answer(outcome, detail="why"))
        assert problems(deliveries, results, charges) == [
            f"{who} of {payment}: expected {expected}, was {outcome} (why)"
        ]

    def test_a_delivery_without_an_answer_is_wrong(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge]
    ) -> None:
        gone = results.pop()
        assert problems(deliveries, results, charges) == [f"{gone.delivery.id} was not answered"]

    def test_taking_over_a_live_lease_is_wrong(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge]
    ) -> None:
        killed = results[position(results, "pay_8c4d", KILLED)]
        takeover = replace(answer_with("ch_pay_8c4d"), outcome="took over")
        who = doctored(results, "pay_8c4d", "in progress", answer=takeover, answered=killed.sent + 1.9)
        assert problems(deliveries, results, charges) == [
            f"{who} of pay_8c4d: expected in progress, was took over"
        ]

    def test_on_a_machine_so_slow_that_the_lease_is_over_already_taking_over_is_right(
        self, deliveries: list[Delivery], results: list[Result], charges: list[Charge]
    ) -> None:
        killed = results[position(results, "pay_8c4d", KILLED)]
        # The later delivery first: the helper finds results by their outcome.
        doctored(results, "pay_8c4d", "took over", answer=answer_with("ch_pay_8c4d"))
        takeover = replace(answer_with("ch_pay_8c4d"), outcome="took over")
        doctored(results, "pay_8c4d", "in progress", answer=takeover, answered=killed.sent + 2.1)
        assert problems(deliveries, results, charges) == []

    def test_what_is_wrong_is_printed(self, deliveries: list[Delivery], charges: list[Charge]) -> None:
        out = io.StringIO()
        report = Report(Console(file=out, width=80))
        report.ledger(deliveries, charges, charges[1:])
        report.verdict(deliveries, charges, charges[1:], ["pay_8c21 was lost: never charged"])
        assert re.search(r"^pay_8c21 +- +1 x +1 x +0 x +- *$", out.getvalue(), re.MULTILINE)
        assert "WRONG: pay_8c21 was lost" in out.getvalue()
        assert "FAIL: 27 deliveries, 12 charges, 1 thing wrong." in out.getvalue()

    def test_a_bad_verdict_is_the_demos_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        played: list[tuple[set[str], bool]] = []

        class NoStage:
            def __init__(self, directory: Path, names: set[str], *, protected: bool) -> None:
                played.append((set(names), protected))

            def __enter__(self) -> object:
                return self

            def __exit__(self, *error: object) -> None:
                pass

        monkeypatch.setattr(directing, "Stage", NoStage)
        monkeypatch.setattr(directing.Director, "deliver", lambda self, deliveries: [])
        assert directing.perform(Console(file=io.StringIO(), width=80)) is False
        assert played == [({"A", "B", "C"}, False), ({"A", "B", "C"}, True)]
