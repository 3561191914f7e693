"""Programs whose leases are renewed while something happens to their process. Each prints what it found.

They run as processes of their own, because they fork, patch or end the interpreter.
"""

import asyncio
import os
import sys
import threading
from typing import Any


def program(name: str) -> None:
    """Run one of the programs."""
    if name == "gevent":
        from gevent import monkey  # noqa: PLC0415 - before anything else is imported

        monkey.patch_all()
    PROGRAMS[name]()


def say(*what: object) -> None:
    """Print for the test."""
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


def protected(body: Any, store: Any, observers: Any = ()) -> Any:
    from idemproof import IdempotencyConfig, idempotent_function  # noqa: PLC0415 - after gevent

    config = IdempotencyConfig(
        in_progress_expires_after_seconds=0.6, renew_lease=True, observers=list(observers)
    )
    return idempotent_function(
        body, data_keyword_argument="n", persistence_store=store, config=config, key_prefix="fn"
    )


class Signals:
    """An observer that lets a program wait for a renewal."""

    def __init__(self) -> None:
        self.renewed = threading.Event()

    def __call__(self, occurrence: Any) -> None:
        if occurrence.kind == "renewed":
            self.renewed.set()


def in_child(act: Any) -> int:
    """Run ``act`` in a forked child, and return its exit code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork() -> None:
    from idemproof import InMemoryPersistenceLayer, current_attempt  # noqa: PLC0415

    seen = Signals()
    function = protected(lambda n: n, InMemoryPersistenceLayer())

    def child() -> None:
        names = [thread.name for thread in threading.enumerate()]
        assert "idemproof-renewal" not in names, names
        attempt = current_attempt()
        assert attempt is not None
        attempt.check()
        waits = Signals()
        assert protected(lambda n: waits.renewed.wait(), InMemoryPersistenceLayer(), [waits])(n=2) is True

    def body(n: int) -> list[int]:
        seen.renewed.wait()
        codes = [in_child(child), in_child(lambda: function(n=3))]
        seen.renewed.clear()
        seen.renewed.wait()  # the parent goes on
        return codes

    say(protected(body, InMemoryPersistenceLayer(), [seen])(n=1))


def fork_in_flight() -> None:
    from idemproof import InMemoryPersistenceLayer  # noqa: PLC0415
    from idemproof.drivers import heartbeats  # noqa: PLC0415

    hangs, released, held, forked = (threading.Event() for _ in range(4))
    parent = os.getpid()

    class Hangs(InMemoryPersistenceLayer):
        blocks = True

        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            if os.getpid() == parent and expected is not None and new.status == "INPROGRESS":
                hangs.set()
                released.wait()
            return super()._swap(key, expected, new, ttl_ms)

    codes: list[int] = []

    def hold(turn: threading.Condition) -> None:
        with turn:  # as a thread may at any time: the child inherits it locked
            held.set()
            forked.wait()

    def body(n: int) -> int:
        hangs.wait()
        home = heartbeats._heartbeats
        assert home is not None
        threading.Thread(target=hold, args=[home.turn]).start()
        held.wait()
        child = os.fork()
        if child:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            forked.set()
            released.set()
        return n

    answer = protected(body, Hangs())(n=1)
    if os.getpid() != parent:
        os._exit(40 + answer)  # it has not waited for a thread that it does not have
    say(codes, answer)


def gevent() -> None:
    import gevent as greenlets  # noqa: PLC0415

    from idemproof import InMemoryPersistenceLayer, current_attempt  # noqa: PLC0415

    seen = Signals()
    store = InMemoryPersistenceLayer()
    owners = set()

    def body(n: int) -> int:
        seen.renewed.wait()
        greenlets.sleep(0)
        attempt = current_attempt()
        assert attempt is not None
        owners.add(attempt.owner)
        return n

    function = protected(body, store, [seen])
    jobs = [greenlets.spawn(function, n=n) for n in range(20)]
    greenlets.joinall(jobs, raise_error=True)
    say([job.value for job in jobs] == list(range(20)), len(owners))


def leave() -> None:
    from idemproof import InMemoryPersistenceLayer  # noqa: PLC0415

    seen = Signals()
    body = protected(lambda n: threading.Event().wait(), InMemoryPersistenceLayer(), [seen])
    threading.Thread(target=body, kwargs={"n": 1}, daemon=True).start()
    seen.renewed.wait()
    say("leaves")


def leave_hanging() -> None:
    from idemproof import InMemoryPersistenceLayer  # noqa: PLC0415

    hangs = threading.Event()

    class Hangs(InMemoryPersistenceLayer):
        blocks = True

        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            if expected is not None:
                hangs.set()
                threading.Event().wait()
            return super()._swap(key, expected, new, ttl_ms)

    body_thread = threading.Thread(
        target=protected(lambda n: threading.Event().wait(), Hangs()), kwargs={"n": 1}, daemon=True
    )
    body_thread.start()
    hangs.wait()
    protected(lambda n: say("leaves"), InMemoryPersistenceLayer())(n=2)
    sys.exit(7)


def late() -> None:
    from idemproof import InMemoryPersistenceLayer  # noqa: PLC0415

    def body(n: int) -> list[bool]:
        from idemproof import current_attempt  # noqa: PLC0415 - while the first body runs

        first = current_attempt()
        return [first is not None and first.key.startswith("fn#"), current_attempt() is not None]

    async def abody(n: int) -> list[bool]:
        await asyncio.sleep(0)
        return body(n)

    store = InMemoryPersistenceLayer()
    found = protected(body, store)(n=1) if sys.argv[2] == "def" else asyncio.run(protected(abody, store)(n=1))
    from idemproof import current_attempt  # noqa: PLC0415

    say(found, current_attempt())


PROGRAMS = {
    "late": late,
    "fork": fork,
    "fork in flight": fork_in_flight,
    "gevent": gevent,
    "exit": leave,
    "exit while it hangs": leave_hanging,
}

if __name__ == "__main__":
    program(sys.argv[1])
