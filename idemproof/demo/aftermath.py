"""A worker that dies after the charge, and before its answer is stored: what the redelivery does.

Without a question the takeover charges again. With ``on_takeover`` it asks the bank.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from .ledger import Ledger
from .stage import Stage, StageError
from .verdict import charge_of
from .webhooks import LIMIT_MS, Delivery
from .worker import Answer, AtTheBank, BankReply, Request

_LEASE_MS = 1500
_MARGIN_SECONDS = 0.05
_TRIES = 100


@dataclass(frozen=True)
class Aftermath:
    """What became of a payment whose worker was killed after the charge.

    Parameters
    ----------
    answer
        The answer to the redelivery.
    charges
        The charges of the payment, in their order.
    """

    answer: Answer
    charges: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """What is wrong, if the bank is asked. Empty: it was charged once, and the answer has that charge."""
        charge = charge_of(self.answer)
        if len(self.charges) == 1 and charge == self.charges[0]:
            return []
        return [
            f"on_takeover was given, and the payment has {len(self.charges)} charges, the answer {charge}"
        ]


def kill_after_the_charge(directory: Path, delivery: Delivery) -> tuple[Aftermath, Aftermath]:
    """Kill a worker after its charge, redeliver, and return what happened without and with a question.

    Raises
    ------
    StageError
        A worker ended, hung or could not be killed.
    """
    folders = directory / "without-question", directory / "with-question"
    for folder in folders:
        folder.mkdir()
    workers = {"A", "B"}
    with Stage(folders[0], workers) as without, Stage(folders[1], workers, asks=True) as asking:
        for stage in (without, asking):
            _charge_and_die(stage, delivery)
        answers = [_redeliver(stage, delivery) for stage in (without, asking)]
    ledgers = [Ledger(folder / "ledger.db") for folder in folders]
    first, second = (
        Aftermath(answer, tuple(charge.id for charge in ledger.charges()))
        for answer, ledger in zip(answers, ledgers, strict=True)
    )
    return first, second


def _charge_and_die(stage: Stage, delivery: Delivery) -> None:
    worker = stage["A"]
    worker.send(Request(delivery.event, _LEASE_MS, stops_after_charge=True))
    stage.receive([worker])  # it is at the bank
    worker.send(BankReply())
    stage.receive([worker])  # it has charged
    worker.kill()


def _redeliver(stage: Stage, delivery: Delivery) -> Answer:
    """Deliver until the dead worker's lease has ended."""
    worker = stage["B"]
    for _ in range(_TRIES):
        worker.send(Request(delivery.event, LIMIT_MS))
        _, message = stage.receive([worker])
        if isinstance(message, AtTheBank):
            worker.send(BankReply())
            _, message = stage.receive([worker])
        answer: Answer = message
        if answer.retry_after_ms is None:
            return answer
        time.sleep(answer.retry_after_ms / 1000 + _MARGIN_SECONDS)
    raise StageError(f"a lease of {_LEASE_MS} ms did not end in {_TRIES} redeliveries")
