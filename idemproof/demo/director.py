"""The director delivers the webhooks, replies for the bank, and reports the results."""

import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from .aftermath import kill_after_the_charge
from .ledger import Charge, Ledger
from .report import Report
from .stage import Stage
from .verdict import KILLED, Result, no_contrast, problems
from .webhooks import Delivery, scenes, shipped
from .worker import Answer, AtTheBank, BankReply, Request

# The wall clock may run slightly slower than the clock that measures waits.
_MARGIN_SECONDS = 0.05


def perform(console: Console, *, keep: bool = False) -> bool:
    """Make the deliveries without protection and with it, and return whether everything was right.

    Parameters
    ----------
    console
        Where to print.
    keep
        Whether to keep the files.

    Raises
    ------
    StageError
        A worker ended, hung or could not be killed.
    """
    deliveries = shipped()
    report = Report(console)
    directory = Path(tempfile.mkdtemp(prefix="idemproof-demo-"))
    try:
        report.opening(deliveries, len(_workers(deliveries)))
        _, unprotected = _run(directory / "unprotected", deliveries, Report(Console(quiet=True)))
        report.unprotected(deliveries, unprotected)
        results, charges = _run(directory, deliveries, report.timeline(), protected=True)
        found = [*problems(deliveries, results, charges), *no_contrast(unprotected)]
        report.ledger(deliveries, unprotected, charges)
        without, asking = kill_after_the_charge(directory, deliveries[0])
        report.aftermath(without, asking)
        found += asking.problems
        report.verdict(deliveries, unprotected, charges, found)
        return not found
    finally:
        if keep:
            report.kept(directory)
        else:
            shutil.rmtree(directory, ignore_errors=True)


def _run(
    directory: Path, deliveries: Sequence[Delivery], report: Report, *, protected: bool = False
) -> tuple[list[Result], list[Charge]]:
    """Make all deliveries to new processes, and return their results and the charges."""
    directory.mkdir(exist_ok=True)
    ledger = Ledger(directory / "ledger.db")
    with Stage(directory, _workers(deliveries), protected=protected) as stage:
        results = Director(stage, report).deliver(deliveries)
    return results, ledger.charges()


def _workers(deliveries: Sequence[Delivery]) -> set[str]:
    return {delivery.worker for delivery in deliveries}


class Director:
    """Delivers webhooks to the workers on a stage.

    Every handler stops at the bank until the director lets it continue. So calls overlap and a running
    handler is killed as planned, without depending on timing.

    Parameters
    ----------
    stage
        The workers.
    report
        Prints each event as it happens.
    """

    def __init__(self, stage: Stage, report: Report) -> None:
        self._stage = stage
        self._report = report
        self._results: list[Result] = []
        self._sent: dict[str, float] = {}

    def deliver(self, deliveries: Sequence[Delivery]) -> list[Result]:
        """Make all deliveries and return their results.

        Raises
        ------
        StageError
            A worker ended, hung or could not be killed.
        """
        for scene in scenes(deliveries):
            if scene[0].title is not None:
                self._report.title(scene[0].title)
            if scene[0].after_lease:
                self._wait_for_lease(scene[0])
            self._deliver(scene)
        return self._results

    def _deliver(self, scene: Sequence[Delivery]) -> None:
        """Make the deliveries of one scene, and wait until all are answered."""
        later = [delivery for delivery in scene if delivery.once_inside]
        open_ = self._send(delivery for delivery in scene if not delivery.once_inside)
        at_the_bank: set[str] = set()
        while open_ or later:
            if later and (at_the_bank or not open_):
                open_ |= self._send(later)
                later = []
            if len(at_the_bank) == len(open_):
                # All other deliveries are answered, so the bank may reply.
                for name in at_the_bank:
                    self._stage[name].send(BankReply(open_[name].bank))
                at_the_bank.clear()
            worker, message = self._stage.receive(
                self._stage[name] for name in open_ if name not in at_the_bank
            )
            delivery = open_[worker.name]
            if isinstance(message, AtTheBank):
                at_the_bank.add(worker.name)
                if delivery.kill or len(scene) > 1:
                    self._report.held(worker.name, worker.pid, delivery)
                if not delivery.kill:
                    continue
                worker.kill()
                message = Answer(KILLED)
                at_the_bank.remove(worker.name)
            del open_[worker.name]
            result = Result(delivery, message, self._sent[delivery.id], self._report.elapsed())
            self._results.append(result)
            self._report.result(worker.name, worker.pid, result)

    def _send(self, deliveries: Iterable[Delivery]) -> dict[str, Delivery]:
        sent = {}
        for delivery in deliveries:
            self._sent[delivery.id] = self._report.elapsed()
            self._stage[delivery.worker].send(Request(delivery.event, delivery.time_limit_ms))
            sent[delivery.worker] = delivery
        return sent

    def _wait_for_lease(self, delivery: Delivery) -> None:
        """Wait until the retry time of the payment's last refusal."""
        for result in reversed(self._results):
            if result.delivery.payment.id == delivery.payment.id:
                if result.answer.retry_after_ms is not None:
                    over = result.answered + result.answer.retry_after_ms / 1000 + _MARGIN_SECONDS
                    seconds = max(0.0, over - self._report.elapsed())
                    self._report.waiting(delivery, seconds)
                    time.sleep(seconds)
                return
