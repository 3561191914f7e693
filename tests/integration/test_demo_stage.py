"""The demonstration's workers, which may die, stall or be silent, and its shipped deliveries."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from idemproof.demo import stage as staging
from idemproof.demo.stage import Stage, StageError
from idemproof.demo.verdict import money
from idemproof.demo.webhooks import Delivery, shipped
from idemproof.demo.worker import Request


@pytest.fixture
def deliveries() -> list[Delivery]:
    return shipped()


class TestStage:
    def test_a_killed_worker_is_dead_and_said_to_be(self, tmp_path: Path) -> None:
        with Stage(tmp_path, ["A"]) as stage:
            stage["A"].kill()
            if hasattr(signal, "SIGKILL"):
                assert stage["A"]._process.exitcode == -signal.SIGKILL
            with pytest.raises(StageError, match=r"worker A \(\d+\) ended unexpectedly"):
                stage.receive([stage["A"]])
        assert multiprocessing.active_children() == []

    def test_a_silent_worker_is_a_failure_after_a_bounded_wait(self, tmp_path: Path) -> None:
        with (
            pytest.raises(StageError, match=r"no message from worker A \(\d+\) in 0 seconds"),
            Stage(tmp_path, ["A"]) as stage,
        ):
            stage.receive([stage["A"]], 0.1)
        assert multiprocessing.active_children() == []

    def test_a_worker_that_cannot_start_is_a_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(staging, "serve", max)  # compares a pipe and a path: TypeError
        with pytest.raises(StageError, match="ended unexpectedly, exit code 1"), Stage(tmp_path, ["A"]):
            pass
        assert multiprocessing.active_children() == []

    @pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP here")
    def test_a_stuck_worker_is_ended_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(staging, "_END_SECONDS", 0.5)
        with Stage(tmp_path, ["A"]) as stage:
            os.kill(stage["A"].pid, signal.SIGSTOP)
        assert multiprocessing.active_children() == []

    def test_any_other_failure_of_the_handler_is_reported(self, tmp_path: Path) -> None:
        with Stage(tmp_path, ["A"]) as stage:
            stage["A"].send(Request({"body": "not JSON"}, 1000))
            _, answer = stage.receive([stage["A"]])
        assert answer.outcome == "error"
        assert "IdempotencyPayloadError" in answer.detail


class TestWebhooks:
    def test_every_delivery_has_a_name_and_a_request_of_its_own(self, deliveries: list[Delivery]) -> None:
        assert len({delivery.id for delivery in deliveries}) == len(deliveries)
        assert len({delivery.event["requestContext"]["requestId"] for delivery in deliveries}) == len(
            deliveries
        )

    def test_attempts_of_one_payment_are_counted(self, deliveries: list[Delivery]) -> None:
        attempts: dict[str, list[int]] = {}
        for delivery in deliveries:
            attempts.setdefault(delivery.payment.id, []).append(
                int(delivery.event["headers"]["X-Webhook-Attempt"])
            )
        assert all(counted == list(range(1, len(counted) + 1)) for counted in attempts.values())

    def test_simultaneous_deliveries_go_to_different_processes(self, deliveries: list[Delivery]) -> None:
        together = [delivery.worker for delivery in deliveries if delivery.together]
        assert len(set(together)) == len(together) == 3

    def test_no_real_person_is_addressed(self, deliveries: list[Delivery]) -> None:
        assert {delivery.event["headers"]["Host"] for delivery in deliveries} == {"api.example.com"}

    def test_amounts_are_in_the_smallest_unit(self) -> None:
        assert [money(4990, "EUR"), money(5, "EUR"), money(6800, "JPY")] == [
            "49.90 EUR",
            "0.05 EUR",
            "6800 JPY",
        ]
