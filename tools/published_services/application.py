"""``python -m published_services.application NAME FOLDER PORT``: an application behind a middleware.

The application authenticates its clients itself. The package's documentation shows how to add its middleware.
"""

import asyncio
import json
import secrets
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .packages import installed_in, named

CLIENTS = {"Bearer alice", "Bearer bob"}
_SECONDS = 0.01
_SLOW_SECONDS = 0.5
_NAMES = ("fails", "declined", "large", "cookie", "slow")
_LARGE = 300_000

state = {"effects": 0}
failed: set[bytes] = set()


async def charge(request: Request) -> Response:
    """Have an effect."""
    body = await request.body()
    if request.headers.get("authorization") not in CLIENTS:
        return JSONResponse({"error": "unknown client"}, 401)
    name = request.url.path.rpartition("/")[2]
    if name == "declined":
        return JSONResponse({"error": "declined"}, 402)
    seconds = _SLOW_SECONDS if name == "slow" else _SECONDS
    await asyncio.sleep(seconds)
    if name == "fails" and body not in failed:
        failed.add(body)
        return JSONResponse({"error": "failed"}, 500)
    state["effects"] += 1
    number = state["effects"]
    await asyncio.sleep(seconds)
    headers = {"location": f"/orders/{number}", "x-order": str(number)}
    response = JSONResponse({"id": number, "amount": json.loads(body).get("amount")}, 201, headers)
    if name == "large":
        response = JSONResponse({"id": number, "text": "x" * _LARGE}, 201, headers)
    if name == "cookie":
        response.set_cookie("session", secrets.token_hex(8))
    return response


async def count(_: Request) -> Response:
    """Return the number of effects."""
    return JSONResponse({"count": state["effects"]})


def main() -> None:
    """Serve until the process ends."""
    name, folder, port = sys.argv[1:]
    installed_in(Path(folder))
    paths = ("/orders", "/refunds", *(f"/orders/{name}" for name in _NAMES))
    application = Starlette(
        routes=[*(Route(path, charge, methods=["POST"]) for path in paths), Route("/effects", count)]
    )
    protected = named(name).protect(application)
    uvicorn.run(protected, host="127.0.0.1", port=int(port), log_level="critical", lifespan="off")


if __name__ == "__main__":
    main()
