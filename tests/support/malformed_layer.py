"""A layer behind lines of JSON, in memory, that goes wrong in the way that its argument names.

It is right for the first requests, in which the suite finds out how to use it.
"""

import json
import os
import signal
import sys
import time
from typing import Any

way = sys.argv[1]
BEGINS_AT = 12
"""The number of the request at which it goes wrong."""


def say(line: object) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def end(status: int) -> None:
    sys.stderr.write("loading records\nout of paper\n")
    sys.stderr.flush()
    os._exit(status)


HELLO: dict[str, Any] = {"idemproof": 1, "layer": "memory"}
BEFORE = {
    "logs before the first line": lambda: write("listening on port 80\n"),
    "says nothing": lambda: time.sleep(600),
    "says nothing, and ignores everything": lambda: ignore_everything(),
    "ends at once": lambda: end(0),
    "fails at once": lambda: end(3),
    "speaks another version": lambda: say(HELLO | {"idemproof": 2}),
    "claims something unknown": lambda: say(HELLO | {"claims": {"fast": True}}),
    "claims something invalid": lambda: say(HELLO | {"claims": {"durable": 1}}),
}


def ignore_everything() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(600)


def valid(number: int, record: object) -> dict[str, Any]:
    return {"id": number, "record": record}


RECORD = {
    "status": "COMPLETED",
    "expiry": 4_102_444_800,
    "lease": None,
    "response": None,
    "payload_hash": None,
    "owner": None,
}


def answer(number: int, record: object) -> None:
    """Answer in the wrong way."""
    if way == "logs":
        write("took 3 ms\n")
    elif way == "prints an array":
        say([number])
    elif way == "prints NaN":
        write('{"id": %d, "record": NaN}\n' % number)
    elif way == "prints bytes":
        sys.stdout.buffer.write(b"\xff\xfe\n")
        sys.stdout.flush()
    elif way == "nests":
        write("[" * 200_000 + "\n")
    elif way == "is silent":
        return
    elif way == "is silent, and ignores everything":
        ignore_everything()
    elif way == "does not read":
        time.sleep(600)
    elif way == "ends":
        end(0)
    elif way == "fails":
        end(7)
    elif way == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "closes stdout":
        os.close(1)
        time.sleep(600)
    elif way == "ends within a line":
        write('{"id": ')
        end(0)
    elif way == "answers another request":
        say(valid(number + 1000, record))
    elif way == "answers twice":
        say(valid(number, record))
        say(valid(number, record))
        return
    elif way == "answers without an id":
        say({"record": record})
    elif way == "answers nothing":
        say({"id": number})
    elif way == "answers too much":
        say(valid(number, record) | {"error": {"kind": "final", "message": "no"}})
    elif way == "answers with a member too many":
        say(valid(number, record) | {"took_ms": 3})
    elif way == "answers with a long line":
        say(valid(number, RECORD | {"response": "x" * 5_000_000}))
    elif way == "never ends a line":
        while True:
            write("x" * 65_536)
    elif way == "forgets a field":
        say(valid(number, {name: RECORD[name] for name in RECORD if name != "lease"}))
    elif way == "renames a field":
        say(valid(number, RECORD | {"leaseUntil": 1}))
    elif way == "writes a time as text":
        say(valid(number, RECORD | {"expiry": "4102444800"}))
    elif way == "writes a time as a fraction":
        say(valid(number, RECORD | {"expiry": 4_102_444_800.5}))
    elif way == "writes another status":
        say(valid(number, RECORD | {"status": "EXPIRED"}))
    elif way == "writes a number as the owner":
        say(valid(number, RECORD | {"owner": 7}))
    elif way == "answers with text":
        say(valid(number, "a record"))
    elif way == "raises an unknown kind":
        say({"id": number, "error": {"kind": "odd", "message": "no"}})
    elif way == "announces a step":
        say({"id": number, "step": "read"})
    elif way == "announces a number as a step":
        say({"id": number, "step": 1})
    elif way == "announces two steps":
        say({"id": number, "step": "read"})
        say({"id": number, "step": "write"})
    else:
        say(valid(number, record))


def version(record: Any) -> Any:
    return record and [record[name] for name in ("owner", "status", "expiry", "lease")]


def main() -> None:
    if way in BEFORE:
        BEFORE[way]()
    say(HELLO | ({"steps": True} if way == "announces two steps" else {}))
    records: dict[str, Any] = {}
    for count, line in enumerate(sys.stdin, 1):
        request = json.loads(line)
        key = request.get("key")
        if request["method"] == "swap" and version(records.get(key)) == version(request["expected"]):
            records[key] = request["new"]
        respond = answer if count >= BEGINS_AT else lambda number, record: say(valid(number, record))
        respond(request["id"], records.get(key))
    if way == "stays":
        ignore_everything()
    if way == "fails at its end":
        end(5)


if __name__ == "__main__":
    main()
