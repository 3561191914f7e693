"""What the demo prints: a timeline while it runs, then the ledger and the verdict."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .aftermath import Aftermath
from .ledger import Charge
from .stage import KILLED_BY
from .verdict import KILLED, Result, charge_of, charged_twice, money
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
        Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def elapsed(self) -> float:
        """Return the seconds since the timeline began."""
        return time.monotonic() - self._began

    def opening(self, deliveries: Sequence[Delivery], workers: int) -> None:
        """Print a description of the demo."""
        self._say(
            f"{len(deliveries)} webhook deliveries of {len(payments(deliveries))} payments, to {workers} "
            "processes that share nothing but a SQLite file. One process is killed while it works."
        )

    def unprotected(self, deliveries: Sequence[Delivery], charges: Sequence[Charge]) -> None:
        """Print the result of the run without protection."""
        self._say("\n1. Without protection", "bold")
        self._say(
            f"{len(payments(deliveries))} payments, {len(charges)} charges: "
            f"{_times(charged_twice(charges))} charged more than once.",
            "red",
        )

    def timeline(self) -> "Report":
        """Print the header of the timeline, and start its clock."""
        self._say("\n2. The same deliveries, with Idemproof\n", "bold")
        self._line("time", "process", "payment", "what happened", "bold")
        self._began = time.monotonic()
        return self

    def title(self, text: str) -> None:
        """Print the title of the next lines."""
        self._console.print()
        self._say(text, "italic")

    def held(self, worker: str, pid: int, delivery: Delivery) -> None:
        """Print that a handler is running and waiting for the bank."""
        self._event(worker, pid, delivery, "running: contacting the bank", "dim")

    def waiting(self, delivery: Delivery, seconds: float) -> None:
        """Print that the sender waits for a lease to end."""
        what = f"waiting {seconds:.1f} s for the dead worker's lease to end"
        self._line(f"{self.elapsed():.2f}s", "", delivery.payment.id, what, "dim")

    def result(self, worker: str, pid: int, result: Result) -> None:
        """Print the result of a delivery."""
        self._event(worker, pid, result.delivery, described(result), _STYLES.get(result.answer.outcome, ""))

    def ledger(
        self, deliveries: Sequence[Delivery], unprotected: Sequence[Charge], charges: Sequence[Charge]
    ) -> None:
        """Print how often each payment was delivered, and how often it was charged in each run."""
        wanted = payments(deliveries)
        table = Table(title="The bank's ledger", title_justify="left", box=None, pad_edge=False)
        table.add_column("payment", no_wrap=True)
        table.add_column("amount", justify="right", no_wrap=True)
        table.add_column("delivered", justify="right")
        table.add_column("unprotected", justify="right")
        table.add_column("protected", justify="right")
        table.add_column("charge")
        for payment in dict.fromkeys([*wanted, *(charge.payment for charge in charges)]):
            made = [charge for charge in charges if charge.payment == payment]
            amounts = dict.fromkeys(money(charge.amount, charge.currency) for charge in made)
            delivered = sum(delivery.payment.id == payment for delivery in deliveries)
            table.add_row(
                payment,
                ", ".join(amounts) or "-",
                f"{delivered} x",
                f"{sum(charge.payment == payment for charge in unprotected)} x",
                f"{len(made)} x",
                ", ".join(charge.id for charge in made) or "-",
                style="" if len(made) == 1 else "bold red",
            )
        self._console.print()
        self._console.print(table, highlight=False)

    def aftermath(self, without: Aftermath, asking: Aftermath) -> None:
        """Print what became of a payment whose worker was killed after the charge."""
        self._say("\n3. A worker that is killed after the charge, and the redelivery\n", "bold")
        first, *more = without.charges
        then = f"charged again: {', '.join(more)}" if more else without.answer.outcome
        self._say(f"without on_takeover: charged {first}, killed; {then}", "red")
        first, *more = asking.charges
        then = f"charged again: {', '.join(more)}" if more else f"asked the bank: {charge_of(asking.answer)}"
        self._say(f"with on_takeover:    charged {first}, killed; {then}", "green")

    def verdict(
        self,
        deliveries: Sequence[Delivery],
        unprotected: Sequence[Charge],
        charges: Sequence[Charge],
        found: Sequence[str],
    ) -> None:
        """Print both results side by side, and whether everything was right."""
        self._say(f"\nwithout protection: {_times(charged_twice(unprotected))} charged more than once", "red")
        self._say(f"with Idemproof:     {_times(charged_twice(charges))} charged more than once", "green")
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
        """Print the path of the kept files."""
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


def _times(charged: Sequence[str]) -> str:
    return f"{len(charged)} payment{'' if len(charged) == 1 else 's'}"


def described(result: Result) -> str:
    """Return the result of a delivery in words."""
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
