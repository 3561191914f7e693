"""Trouble between a fleet and its server: pauses, cut connections, restarts, lost requests and replies."""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from proxy import Proxy
from server_process import Server


class Storm:
    """Troubles a server, and the proxy before it, until it is over. No trouble lasts too long.

    Parameters
    ----------
    longest
        How many seconds the server may be away at a time.
    restarts
        Whether the server is restarted too: it must keep what it has acknowledged.
    """

    def __init__(
        self, proxy: Proxy, server: Server, *, seed: int, longest: float = 0.8, restarts: bool
    ) -> None:
        self._server = server
        self._proxy = proxy
        self._chance = random.Random(seed)
        self._longest = longest
        self._over = threading.Event()
        self._troubles: list[Callable[[], None]] = [self._pause, self._cut]
        if restarts:
            self._troubles.append(self._restart)
        self.counts: Counter[str] = Counter()

    @contextlib.contextmanager
    def raging(self) -> Iterator[None]:
        """Trouble them meanwhile."""
        thread = threading.Thread(target=self._rage, name="storm")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _rage(self) -> None:
        while not self._over.wait(self._chance.uniform(0.5, 2)):
            trouble = self._chance.choice(self._troubles)
            self.counts[trouble.__name__.strip("_")] += 1
            trouble()

    def _wait(self) -> None:
        self._over.wait(self._chance.uniform(0.05, self._longest))

    def _pause(self) -> None:
        self._server.pause()
        try:
            self._wait()
        finally:
            self._server.resume()

    def _cut(self) -> None:
        self._proxy.refuse()
        try:
            self._wait()
        finally:
            self._proxy.accept()

    def _restart(self) -> None:
        self._server.restart()
        self._proxy.refuse()  # so that open connections end
        try:
            self._wait()
        finally:
            self._proxy.accept()
