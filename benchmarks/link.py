"""Forward connections to a server on this machine, and deliver what it sends a millisecond later.

``python link.py PORT SERVER_PORT`` prints "ready" when it listens. It stands for a network between a client
and its database: each round trip takes a millisecond longer.
"""

import asyncio
import sys

HOST = "127.0.0.1"
DELAY_SECONDS = 0.001
CHUNK = 1 << 16


async def forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float) -> None:
    """Deliver all that comes from ``source``, in order, ``delay`` seconds after it came."""
    loop = asyncio.get_running_loop()
    while chunk := await source.read(CHUNK):
        loop.call_later(delay, sink.write, chunk)
    loop.call_later(delay, sink.close)


async def main(port: int, server_port: int) -> None:
    """Serve until the process is ended."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies, requests = await asyncio.open_connection(HOST, server_port)
        await asyncio.gather(forward(reader, requests, 0), forward(replies, writer, DELAY_SECONDS))

    async with await asyncio.start_server(connected, HOST, port) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
