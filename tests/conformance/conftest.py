"""Node.js, and commands that must have ended when a test ends."""

import gc
import shutil
from collections.abc import Iterator

import pytest

import servers
from child_commands import is_running
from idemproof.conformance.commands.child import Child


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        servers.missing("node", "install Node.js 20 or newer, for example by apt-get install nodejs")
    return found


@pytest.fixture
def no_orphans(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Require that every command that a test has started has ended when the test ends."""
    started: list[int] = []
    begin = Child.start_reading

    def noted(self: Child) -> None:
        started.append(self.pid)
        begin(self)

    monkeypatch.setattr(Child, "start_reading", noted)
    yield
    gc.collect()
    assert not [pid for pid in started if is_running(pid)]
