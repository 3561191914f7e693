"""The payloads of the benchmarks, the selection of their keys, and their expected answers."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

Payload = dict[str, Any]


class Kind(NamedTuple):
    """A kind of payload. ``answer`` is the work: it returns the result for a payload."""

    name: str
    make: Callable[[int], Payload]
    answer: Callable[[Payload], Payload]
    expressions: dict[str, str]
    """The JMESPath expression of the key."""
    selectors: dict[str, Any]
    """The same key for idemkit, which uses names and functions."""


def _order(number: int) -> Payload:
    return {
        "order_id": f"o-{number}",
        "customer": {"id": "c-1842", "country": "NL"},
        "items": [
            {"sku": "A-100", "quantity": 2, "price": 1250},
            {"sku": "B-7", "quantity": 1, "price": 300},
        ],
        "currency": "EUR",
    }


def _receipt(order: Payload) -> Payload:
    return {"statusCode": 200, "handled": order["order_id"]}


def _order_of(size: int) -> Callable[[int], Payload]:
    item = {"sku": "A-100", "quantity": 2, "price": 1250, "description": "a line of an order"}
    # As many lines as make its JSON about that large; made anew for each payload, as a request's are.
    lines = size // len(json.dumps(item))

    def make(number: int) -> Payload:
        return _order(number) | {"items": [dict(item) for _ in range(lines)]}

    return make


def _confirmation(order: Payload) -> Payload:
    return _receipt(order) | {"items": order["items"]}


def _webhook(number: int) -> Payload:
    return {
        "httpMethod": "POST",
        "path": "/webhooks/payments",
        "headers": {
            "content-type": "application/json",
            "user-agent": "hooks/2.1",
            "x-delivery": f"d-{number}",
        },
        "requestContext": {
            "requestId": f"r-{number}",
            "stage": "prod",
            "identity": {"sourceIp": "203.0.113.7"},
        },
        "body": json.dumps(
            {"payment_id": f"p-{number}", "amount": 1250, "currency": "EUR", "customer": "c-1842"}
        ),
        "isBase64Encoded": False,
    }


def _accepted(webhook: Payload) -> Payload:
    return {"statusCode": 200, "handled": webhook["requestContext"]["requestId"]}


def _payment_of(arguments: Any) -> Payload:
    payment: Payload = json.loads(arguments["payload"]["body"])
    return payment


_WHOLE = {"key_fields": ["payload"]}

ORDER = Kind("200 B", _order, _receipt, {}, _WHOLE)
"""An order; all of it is the key, and the result is short."""

LARGE = Kind("10 KB", _order_of(10_000), _confirmation, {}, _WHOLE)
"""A long order; all of it is the key, and the result has all its lines."""

HUGE = Kind("300 KB", _order_of(300_000), _confirmation, {}, _WHOLE)
"""The largest that a DynamoDB item holds comfortably."""

WEBHOOK = Kind(
    "webhook of 500 B",
    _webhook,
    _accepted,
    {
        "event_key_jmespath": "powertools_json(body).payment_id",
        "payload_validation_jmespath": "powertools_json(body).[amount, currency]",
    },
    {
        "normalize_args": lambda arguments: {"payment_id": _payment_of(arguments)["payment_id"]},
        "validation_fingerprint": lambda arguments: json.dumps(
            [_payment_of(arguments)[name] for name in ("amount", "currency")]
        ).encode(),
    },
)
"""An API Gateway event: the key and what is validated are in its JSON body."""
