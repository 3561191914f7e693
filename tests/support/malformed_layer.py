"""A layer behind lines of JSON, in memory, that goes wrong in the way that its argument names.

It is right for the first requests, in which the suite finds out how to use it.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

BEGINS_AT = 12
"""The number of the request at which it goes wrong."""

HELLO: dict[str, Any] = {"idemproof": 1, "layer": "memory"}
RECORD = {
    "status": "COMPLETED",
    "expiry": 4_102_444_800,
    "lease": None,
    "response": None,
    "payload_hash": None,
    "owner": None,
}


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def say(*lines: object) -> None:
    write("".join(f"{json.dumps(line)}\n" for line in lines))


def end(status: int) -> None:
    sys.stderr.write("loading records\nout of paper\n")
    sys.stderr.flush()
    os._exit(status)


def wait() -> None:
    time.sleep(600)


def ignore_everything() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait()


def print_bytes() -> None:
    sys.stdout.buffer.write(b"\xff\xfe\n")
    sys.stdout.flush()


def print_forever() -> None:
    while True:
        write("x" * 65_536)


def close_stdout() -> None:
    os.close(1)
    wait()


def end_within_a_line() -> None:
    write('{"id": ')
    end(0)


def with_record(**fields: Any) -> Callable[[int, object], None]:
    return lambda number, _: say({"id": number, "record": RECORD | fields})


BEFORE: dict[str, Callable[[], None]] = {
    "logs before the first line": lambda: write("listening on port 80\n"),
    "says nothing": wait,
    "says nothing, and ignores everything": ignore_everything,
    "ends at once": lambda: end(0),
    "fails at once": lambda: end(3),
    "speaks another version": lambda: say(HELLO | {"idemproof": 2}),
    "claims something unknown": lambda: say(HELLO | {"claims": {"fast": True}}),
    "claims something invalid": lambda: say(HELLO | {"claims": {"durable": 1}}),
}

DURING: dict[str, Callable[[int, object], None]] = {
    "logs": lambda *_: write("took 3 ms\n"),
    "prints an array": lambda number, _: say([number]),
    "prints NaN": lambda number, _: write(f'{{"id": {number}, "record": NaN}}\n'),
    "prints bytes": lambda *_: print_bytes(),
    "nests": lambda *_: write("[" * 200_000 + "\n"),
    "is silent": lambda *_: None,
    "is silent, and ignores everything": lambda *_: ignore_everything(),
    "does not read": lambda *_: wait(),
    "ends": lambda *_: end(0),
    "fails": lambda *_: end(7),
    "is killed": lambda *_: os.kill(os.getpid(), signal.SIGKILL),
    "closes stdout": lambda *_: close_stdout(),
    "ends within a line": lambda *_: end_within_a_line(),
    "answers another request": lambda number, record: say({"id": number + 1000, "record": record}),
    "answers twice": lambda number, record: say(*[{"id": number, "record": record}] * 2),
    "answers without an id": lambda _, record: say({"record": record}),
    "answers nothing": lambda number, _: say({"id": number}),
    "answers too much": lambda number, _: say(
        {"id": number, "record": None, "error": {"kind": "final", "message": "no"}}
    ),
    "answers with a member too many": lambda number, _: say({"id": number, "record": None, "took_ms": 3}),
    "answers with a long line": with_record(response="x" * 5_000_000),
    "never ends a line": lambda *_: print_forever(),
    "forgets a field": lambda number, _: say(
        {"id": number, "record": {name: RECORD[name] for name in RECORD if name != "lease"}}
    ),
    "renames a field": with_record(leaseUntil=1),
    "writes a time as text": with_record(expiry="4102444800"),
    "writes a time as a fraction": with_record(expiry=4_102_444_800.5),
    "writes another status": with_record(status="EXPIRED"),
    "writes a number as the owner": with_record(owner=7),
    "answers with text": lambda number, _: say({"id": number, "record": "a record"}),
    "raises an unknown kind": lambda number, _: say(
        {"id": number, "error": {"kind": "odd", "message": "no"}}
    ),
    "announces a step": lambda number, _: say({"id": number, "step": "read"}),
    "announces a number as a step": lambda number, _: say({"id": number, "step": 1}),
    "announces two steps": lambda number, _: say(
        {"id": number, "step": "read"}, {"id": number, "step": "write"}
    ),
}

AFTER: dict[str, Callable[[], None]] = {
    "stays": ignore_everything,
    "fails at its end": lambda: end(5),
}


def right(number: int, record: object) -> None:
    say({"id": number, "record": record})


def version(record: Any) -> Any:
    return record and [record[name] for name in ("owner", "status", "expiry", "lease")]


def main(way: str) -> None:
    BEFORE.get(way, lambda: None)()
    say(HELLO | {"steps": way == "announces two steps"})
    records: dict[str, Any] = {}
    for count, line in enumerate(sys.stdin, 1):
        request = json.loads(line)
        key = request.get("key")
        if request["method"] == "swap" and version(records.get(key)) == version(request["expected"]):
            records[key] = request["new"]
        answer = right if count < BEGINS_AT else DURING.get(way, right)
        answer(request["id"], records.get(key))
    AFTER.get(way, lambda: None)()


if __name__ == "__main__":
    main(sys.argv[1])
