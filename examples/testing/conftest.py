"""Enables the fixtures that begin with ``idempotency_``."""

pytest_plugins = ["idemproof.pytest_plugin"]
