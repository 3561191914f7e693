"""The verdict compares the deliveries with the ledger and with each caller's answer.

It reads the webhooks and the ledger, never the idempotency store.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .ledger import Charge
from .webhooks import Delivery, Payment, payments
from .worker import Answer

KILLED = "killed"


@dataclass(frozen=True)
class Result:
    """The result of one delivery.

    Parameters
    ----------
    delivery
        The delivery.
    answer
        The caller's answer. Its outcome is :data:`KILLED` if the worker died.
    sent, answered
        When, in seconds since the timeline began.
    """

    delivery: Delivery
    answer: Answer
    sent: float
    answered: float


def problems(
    deliveries: Sequence[Delivery], results: Sequence[Result], charges: Sequence[Charge]
) -> list[str]:
    """Return a message for each fault. Empty: each payment was charged once, and each answer was right.

    Parameters
    ----------
    deliveries
        The webhooks.
    results
        The results, in the order of the answers.
    charges
        The rows of the ledger.
    """
    return [
        *_wrong_charges(deliveries, charges),
        *_wrong_outcomes(deliveries, results),
        *_wrong_answers(results, charges),
    ]


def no_contrast(unprotected: Sequence[Charge]) -> list[str]:
    """Return a message if the run without protection charged nothing twice: then the demo proves nothing."""
    if charged_twice(unprotected):
        return []
    return ["without protection no payment was charged twice, so the run with protection proves nothing"]


def charged_twice(charges: Sequence[Charge]) -> list[str]:
    """Return the payments that were charged more than once."""
    times = Counter(charge.payment for charge in charges)
    return [payment for payment, count in times.items() if count > 1]


def charge_of(answer: Answer) -> str | None:
    """Return the id of the charge in an answer, if there is one."""
    try:
        return str(json.loads(answer.response["body"])["charge_id"])
    except (KeyError, TypeError, ValueError):
        return None


def _wrong_charges(deliveries: Sequence[Delivery], charges: Sequence[Charge]) -> list[str]:
    wanted = payments(deliveries)
    wrong = []
    for payment in wanted.values():
        made = [charge for charge in charges if charge.payment == payment.id]
        if not made:
            wrong.append(f"{payment.id} was lost: never charged")
        if len(made) > 1:
            wrong.append(f"{payment.id} was charged {len(made)} times")
        wrong += [
            f"{payment.id} asked for {money(payment.amount, payment.currency)} from {payment.customer}, "
            f"but {charge.id} took {money(charge.amount, charge.currency)} from {charge.customer}"
            for charge in made
            if Payment(charge.payment, charge.amount, charge.currency, charge.customer) != payment
        ]
    unknown = {charge.payment for charge in charges} - set(wanted)
    wrong += [f"{payment} was charged, but no delivery asked for it" for payment in sorted(unknown)]
    return wrong


def _wrong_outcomes(deliveries: Sequence[Delivery], results: Sequence[Result]) -> list[str]:
    wrong = []
    for index, result in enumerate(results):
        delivery, outcome = result.delivery, result.answer.outcome
        if outcome not in delivery.expect and not _lease_was_over(result, results[:index]):
            detail = f" ({result.answer.detail})" if result.answer.detail else ""
            wrong.append(
                f"{delivery.id} of {delivery.payment.id}: expected {' or '.join(delivery.expect)}, "
                f"was {outcome}{detail}"
            )
    answered = {result.delivery.id for result in results}
    wrong += [f"{delivery.id} was not answered" for delivery in deliveries if delivery.id not in answered]
    return wrong


def _lease_was_over(result: Result, earlier: Sequence[Result]) -> bool:
    """Return whether the machine was so slow that a killed worker's lease ended before the next delivery.

    Then that delivery correctly takes over, and the delivery that was planned to take over gets a replay.
    """
    same = [other for other in earlier if other.delivery.payment.id == result.delivery.payment.id]
    killed = [other for other in same if other.answer.outcome == KILLED]
    if not killed:
        return False
    if result.answer.outcome == "took over" and "in progress" in result.delivery.expect:
        return result.answered - killed[-1].sent >= killed[-1].delivery.time_limit_ms / 1000
    return result.answer.outcome == "replayed" and any(
        other.answer.outcome == "took over" and _lease_was_over(other, killed) for other in same
    )


def _wrong_answers(results: Sequence[Result], charges: Sequence[Charge]) -> list[str]:
    made = {charge.id: charge.payment for charge in charges}
    first: dict[str, Result] = {}
    wrong = []
    for result in results:
        if result.answer.response is None:
            continue
        delivery, payment = result.delivery, result.delivery.payment.id
        charge = charge_of(result.answer)
        if charge is None or made.get(charge) != payment:
            wrong.append(f"{delivery.id} of {payment} was answered with {charge}, which is not its charge")
        before = first.setdefault(payment, result)
        if result.answer.response != before.answer.response:
            wrong.append(
                f"{delivery.id} of {payment} was answered with {charge}, but {before.delivery.id} "
                f"with {charge_of(before.answer)}"
            )
    return wrong


def money(amount: int, currency: str) -> str:
    """Return an amount for display. ``amount`` is in the currency's smallest unit."""
    if currency == "JPY":  # the only currency of the demo without decimals
        return f"{amount} {currency}"
    return f"{amount // 100}.{amount % 100:02d} {currency}"
