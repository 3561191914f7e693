"""An HTTP endpoint that sells cinema tickets, and supports the header `Idempotency-Key`.

A repeated request gets the stored answer, with the header `Idempotency-Replayed: true`, and no seat is
charged twice. 400: no key; 409: the first request is still running, retry after `Retry-After`; 422: the key
was used for another order.
"""

import os
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from idemproof import DataRecord, IdempotencyConfig, SQLitePersistenceLayer, idempotent_function
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyValidationError

app = FastAPI()
store = SQLitePersistenceLayer(os.environ.get("DATABASE", "orders.db"))


class Order(BaseModel):
    show: str
    seats: list[str]


def mark_replay(response: dict, record: DataRecord) -> dict:
    return response | {"headers": {"Idempotency-Replayed": "true"}}


config = IdempotencyConfig(
    event_key_jmespath="[customer, key]",  # customers cannot get each other's answers
    payload_validation_jmespath="order",
    expires_after_seconds=24 * 3600,
    in_progress_expires_after_seconds=30,
    response_hook=mark_replay,
)


async def charge(customer: str, euros: int) -> str:
    """Simulate the request to a payment provider."""
    print(f"charging {customer} {euros} euros")
    return f"receipt of {customer}"


@idempotent_function(data_keyword_argument="request", persistence_store=store, config=config)
async def sell(request: dict) -> dict:
    order = request["order"]
    receipt = await charge(request["customer"], 12 * len(order["seats"]))
    return {"headers": {}, "body": {"show": order["show"], "seats": order["seats"], "receipt": receipt}}


@app.post("/customers/{customer}/orders")
async def create_order(
    customer: str, order: Order, idempotency_key: Annotated[str | None, Header()] = None
) -> JSONResponse:
    if not idempotency_key:
        raise HTTPException(400, "This operation needs the header Idempotency-Key.")
    sold = await sell(request={"customer": customer, "key": idempotency_key, "order": order.model_dump()})
    return JSONResponse(sold["body"], status_code=201, headers=sold["headers"])


@app.exception_handler(IdempotencyAlreadyInProgressError)
async def still_running(request: Request, error: IdempotencyAlreadyInProgressError) -> JSONResponse:
    seconds = -(-(error.retry_after_ms or 1000) // 1000)  # rounded up
    detail = "A request with this Idempotency-Key is still being processed."
    return JSONResponse({"detail": detail}, status_code=409, headers={"Retry-After": str(seconds)})


@app.exception_handler(IdempotencyValidationError)
async def another_order(request: Request, error: IdempotencyValidationError) -> JSONResponse:
    detail = "This Idempotency-Key came with another order before."
    return JSONResponse({"detail": detail}, status_code=422)
