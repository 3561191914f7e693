"""A FastAPI application whose POST requests need the header `Idempotency-Key`, and run once for each key."""

import os

from fastapi import FastAPI
from pydantic import BaseModel

from idemproof import SQLitePersistenceLayer
from idemproof.http import protect

app = FastAPI()
store = SQLitePersistenceLayer(os.environ.get("DATABASE", "keys.db"))
protect(app, persistence_store=store, service="tickets")


class Order(BaseModel):
    show: str
    seats: list[str]


@app.post("/orders", status_code=201)
def create_order(order: Order) -> dict:
    print(f"charging {12 * len(order.seats)} euros")
    return {"show": order.show, "seats": order.seats}
