"""Imports time_machine without pytest, which it imports if it can. That would take longer than all else.

For the main programs of processes. Elsewhere pytest may follow, to which time_machine is also a plugin.
"""

import sys

if "pytest" in sys.modules:
    import time_machine
else:
    sys.modules["pytest"] = None  # type: ignore[assignment]
    try:
        import time_machine  # noqa: F401
    finally:
        del sys.modules["pytest"]
