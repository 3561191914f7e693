"""A Flask application that sells tickets. A repeat gets the first answer, and there is no second charge."""

import os

from flask import Flask, abort, g, request

from idemproof import SQLitePersistenceLayer
from idemproof.http import FlaskIdempotency

TOKENS = {"token-of-ada": "ada", "token-of-grace": "grace"}

app = Flask(__name__)
store = SQLitePersistenceLayer(os.environ.get("DATABASE", "orders.db"))


@app.before_request
def authenticate() -> None:
    """Runs for each request, also for one that is answered by a replay."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token not in TOKENS:
        abort(401)
    g.customer = TOKENS[token]


FlaskIdempotency(app, persistence_store=store, scope=lambda _: g.customer)


@app.post("/orders")
def create_order() -> tuple[dict, int]:
    order = request.get_json()
    print(f"charging {g.customer} {12 * len(order['seats'])} euros")
    return {"seats": order["seats"], "receipt": f"receipt of {g.customer}"}, 201
