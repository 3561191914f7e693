"""What the demonstration prints: a timeline while it runs, then the ledger and the verdict."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .ledger import Charge
from .stage import KILLED_BY
from .verdict import KILLED, Result, charge_of, money
from .webhooks import Delivery, payments

_STYLES = {
    "charged": "green",
    "took over": "bold green",
    "replayed": "cyan",
    "in progress": "yellow",
    "amount changed": "yellow",
    "failed": "magenta",
    "error": "bold red",
    KILLED: "bold red",
}


class Report:
    """Prints to a console, line by line.

    Parameters
    ----------
    console
        Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def elapsed(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._began

    def opening(self, deliveries: Sequence[Delivery], workers: int) -> None:
        """Say what is going to happen."""
        self._say(
            f"{len(deliveries)} webhook deliveries of {len(payments(deliveries))} payments, to {workers} "
            "processes that share nothing but a SQLite file.\n"
        )
        self._line("time", "process", "payment", "what happened", "bold")

    def story(self, text: str) -> None:
        """Say what the next lines are about."""
        self._console.print()
        self._say(text, "italic")

    def held(self, worker: str, pid: int, delivery: Delivery) -> None:
        """Show that a handler is in the middle of its body, and is kept there."""
        self._event(worker, pid, delivery, "in the middle of its run: contacting the bank", "dim")

    def waiting(self, delivery: Delivery, seconds: float) -> None:
        """Show that the sender waits for a lease to end."""
        what = f"waiting {seconds:.1f} s for the dead worker's lease to end"
        self._line(f"{self.elapsed():.2f}s", "", delivery.payment.id, what, "dim")

    def result(self, worker: str, pid: int, result: Result) -> None:
        """Show what came of a delivery."""
        self._event(worker, pid, result.delivery, told(result), _STYLES.get(result.answer.outcome, ""))

    def ledger(self, deliveries: Sequence[Delivery], charges: Sequence[Charge]) -> None:
        """Show how often each payment was delivered, and how often it was charged."""
        wanted = payments(deliveries)
        table = Table(title="The bank's ledger", title_justify="left", box=None, pad_edge=False)
        table.add_column("payment", no_wrap=True)
        table.add_column("amount", justify="right", no_wrap=True)
        table.add_column("delivered", justify="right")
        table.add_column("charged", justify="right")
        table.add_column("charge")
        for payment in dict.fromkeys([*wanted, *(charge.payment for charge in charges)]):
            made = [charge for charge in charges if charge.payment == payment]
            amounts = dict.fromkeys(money(charge.amount, charge.currency) for charge in made)
            delivered = sum(delivery.payment.id == payment for delivery in deliveries)
            table.add_row(
                payment,
                ", ".join(amounts) or "-",
                f"{delivered} x",
                f"{len(made)} x",
                ", ".join(charge.id for charge in made) or "-",
                style="" if len(made) == 1 else "bold red",
            )
        self._console.print()
        self._console.print(table, highlight=False)

    def honesty(self, results: Sequence[Result]) -> None:
        """Say what no library can promise."""
        for result in results:
            if result.delivery.kill:
                self._say(
                    f"\n{result.delivery.payment.id}: its worker died before it charged. Had it died between "
                    "the charge and its answer, no library could know, and the takeover would charge again: "
                    "see what spec/protocol.md leaves outside every promise."
                )

    def verdict(
        self, deliveries: Sequence[Delivery], charges: Sequence[Charge], found: Sequence[str]
    ) -> None:
        """Say whether all is well."""
        if found:
            for problem in found:
                self._say(f"WRONG: {problem}", "bold red")
            count = f"{len(found)} thing{'s' if len(found) > 1 else ''} wrong"
            self._say(f"\nFAIL: {len(deliveries)} deliveries, {len(charges)} charges, {count}.", "bold red")
            return
        self._say(
            f"\nPASS: {len(deliveries)} deliveries, {len(payments(deliveries))} payments, each charged "
            f"exactly once ({self.elapsed():.1f} s).\nEvery answer agrees with the ledger.",
            "bold green",
        )

    def kept(self, directory: Path) -> None:
        """Say where the files are."""
        # Not wrapped, so that the path can be copied.
        self._console.print(Text(f"The files are kept in {directory}"), soft_wrap=True, highlight=False)

    def _event(self, worker: str, pid: int, delivery: Delivery, what: str, style: str) -> None:
        self._line(f"{self.elapsed():.2f}s", f"{worker} ({pid})", delivery.payment.id, what, style)

    def _line(self, when: str, who: str, payment: str, what: str, style: str) -> None:
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(justify="right", width=6)
        row.add_column(width=11, no_wrap=True)
        row.add_column(width=8, no_wrap=True)
        row.add_column(ratio=1)
        row.add_row(Text(when), Text(who), Text(payment), Text(what, style=style))
        self._console.print(row, highlight=False)

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), highlight=False)


def told(result: Result) -> str:
    """Return in words what came of a delivery."""
    answer, payment = result.answer, result.delivery.payment
    charge = charge_of(answer)
    how = "claimed and charged" if "claimed" in answer.events else "charged without any claim"
    released = " and released" if "released" in answer.events else ""
    words = {
        "charged": f"{how}: {charge}",
        "took over": f"took over after its lease and charged: {charge}",
        "replayed": f"replayed the stored answer: {charge}",
        "in progress": f"refused: in progress, retry in {answer.retry_after_ms} ms",
        "amount changed": f"refused: amount changed to {money(payment.amount, payment.currency)}",
        KILLED: f"killed ({KILLED_BY}) before the charge",
        "failed": f"failed{released}: {answer.detail}",
    }
    return words.get(answer.outcome, f"{answer.outcome}: {answer.detail}")
