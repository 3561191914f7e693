"""A FastAPI endpoint over SQLAlchemy: an order and its record are committed in one transaction.

The session comes from a dependency, and the protected function commits it. A repeated request gets the
stored answer. A worker that dies leaves either the order and its answer, or neither.
"""

import os
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, FastAPI, Header
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from idemproof import (
    IdempotencyConfig,
    SQLAlchemyPersistenceLayer,
    current_attempt,
    idempotency_table,
    idempotent_function,
)

app = FastAPI()
engine = create_engine(os.environ.get("DATABASE_URL", "sqlite:///orders.db"))


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


store = SQLAlchemyPersistenceLayer(engine, idempotency_table(Base.metadata))
Base.metadata.create_all(engine)
config = IdempotencyConfig(in_progress_expires_after_seconds=10)


def open_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@idempotent_function(data_keyword_argument="order", persistence_store=store, config=config)
def place_order(order: dict, session: Session) -> dict:
    with session.begin():
        placed = Order(item=order["item"])
        session.add(placed)
        session.flush()  # which gives it its number
        return current_attempt().complete({"order": placed.id, "item": placed.item}, within=session)


@app.post("/orders/{item}", status_code=201)
def create_order(
    item: str, idempotency_key: Annotated[str, Header()], session: Annotated[Session, Depends(open_session)]
) -> dict:
    return place_order(order={"key": idempotency_key, "item": item}, session=session)
