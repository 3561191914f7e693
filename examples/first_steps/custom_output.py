"""Print a parcel's label once, and return the label as an object of your own class.

Two functions convert the object to JSON and back: a repeated call gets a ``Label`` with the same text.
"""

import os
import uuid

from idemproof import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from idemproof.serialization import CustomDictSerializer

store = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE_NAME", "IdempotencyTable"))
config = IdempotencyConfig(event_key_jmespath="number")
printed: list[str] = []


class Label:
    def __init__(self, tracking: uuid.UUID, lines: tuple[str, ...]) -> None:
        self.tracking = tracking
        self.lines = lines

    def text(self) -> str:
        return "\n".join((*self.lines, str(self.tracking)))


def label_to_dict(label: Label) -> dict:
    return {"tracking": label.tracking.hex, "lines": list(label.lines)}


def label_from_dict(stored: dict) -> Label:
    return Label(uuid.UUID(stored["tracking"]), tuple(stored["lines"]))


@idempotent_function(
    data_keyword_argument="parcel",
    persistence_store=store,
    config=config,
    output_serializer=CustomDictSerializer(to_dict=label_to_dict, from_dict=label_from_dict),
)
def print_label(parcel: dict) -> Label:
    printed.append(parcel["number"])
    print(f"printing a label for {parcel['recipient']}")
    return Label(uuid.uuid4(), (parcel["recipient"], parcel["city"]))


def handler(event: dict, context: object) -> dict:
    config.register_lambda_context(context)
    return {"label": print_label(parcel=event).text()}
