"""Sell cinema seats once, and return the ticket as a dataclass.

The serializer reads the return annotation: a replay returns a ``Ticket`` whose time is a ``datetime``.
"""

import os
import uuid
from dataclasses import dataclass
from datetime import datetime

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from idemproof.serialization import DataclassSerializer

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="order")
sold: list[str] = []


@dataclass
class Wish:
    order: str
    begins: datetime
    seats: list[str]


@dataclass
class Ticket:
    number: str
    begins: datetime
    seats: list[str]


@idempotent_function(
    data_keyword_argument="wish",
    persistence_store=store,
    config=config,
    output_serializer=DataclassSerializer,
)
def sell(wish: Wish) -> Ticket:
    sold.extend(wish.seats)
    print(f"selling {', '.join(wish.seats)}")
    return Ticket(number=str(uuid.uuid4()), begins=wish.begins, seats=wish.seats)


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    wish = Wish(event["order"], datetime.fromisoformat(event["begins"]), event["seats"])
    ticket = sell(wish=wish)
    return {"ticket": ticket.number, "seats": ticket.seats, "doors": f"{ticket.begins:%H:%M}"}
