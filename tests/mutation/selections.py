"""Which modules are mutated, and which tests judge each of them: first a quick selection, then a wide one."""

from typing import NamedTuple


class Module(NamedTuple):
    """One module, and the tests by which its mutants are judged.

    Parameters
    ----------
    path
        Where it stands in the package.
    quick
        The tests that run against every mutant, all in one process.
    wide
        The tests that run against what the quick ones let live.
    only
        Of the quick tests, those that pytest's ``-k`` selects by this; all if it is empty.
    """

    path: str
    quick: tuple[str, ...]
    wide: tuple[str, ...]
    only: str = ""


_ROWS = "tests/spec/test_rows.py"
_INVARIANTS = "tests/spec/test_invariants.py"
_RECORDS = "tests/spec/test_reading_records.py"
_OTHER_MOVES = ("tests/spec/test_moves_of_other_clients.py",)
_MOVES = tuple(f"tests/spec/test_{part}.py" for part in ("moves", "states", "model_asks"))
_FAULTS = "tests/conformance/test_seeded_faults.py"
_ENGINE = tuple(
    f"tests/reference/test_{part}.py"
    for part in (
        "engine_claim",
        "engine_completion",
        "engine_release",
        "engine_cache",
        "engine_tries",
        "engine_events",
        "engine_interrupts",
        "takeover",
        "takeover_final_errors",
        "final_errors",
        "persistent_completion",
        "time_limits",
        "attempt",
        "answers",
        "answers_explained",
    )
)

_INTERRUPTS = ("tests/backends/test_interrupts.py", "tests/reference/test_time_limits.py")
_TAKEOVER = tuple(
    f"tests/reference/test_{part}.py" for part in ("takeover", "takeover_by_key", "renewal_of_takeovers")
)
_FINAL = tuple(f"tests/reference/test_{part}.py" for part in ("final_errors", "takeover_final_errors"))
_RENEWAL = tuple(
    f"tests/reference/test_{part}.py" for part in ("renewal", "renewal_async", "renewal_of_takeovers")
)
_WAITING = ("tests/reference/test_waiting.py",)
_WAITS = (
    *_WAITING,
    *(f"tests/reference/test_{part}.py" for part in ("features_together", "operators", "takeover")),
)
_TRANSACTIONS = tuple(
    f"tests/transactions/test_{part}.py"
    for part in ("within", "ends_of_transactions", "later_transactions", "renewal_within", "sqlite_order")
)
_CHANGES = ("tests/reference/test_changes.py", *_ENGINE)

_CONFORMANCE = tuple(f"tests/conformance/test_{part}.py" for part in ("vectors", "flows", "engine_explorer"))
_WIDE_SPEC = ("tests/spec", _FAULTS, *_CONFORMANCE, *_ENGINE)
_WIDE_SEARCH = ("tests/spec", _FAULTS)
_WIDE_REFERENCE = ("tests/reference", *_CONFORMANCE)
_WIDE_TRANSACTIONS = ("tests/transactions", "tests/conformance/test_wrong_engines_in_transactions.py")
_WIDE_CHANGES = (
    *_WIDE_REFERENCE,
    "tests/backends/test_powertools_methods.py",
    "tests/backends/test_sqlite_waits.py",
)

MODULES = (
    Module("spec/transition.py", (_ROWS, _INVARIANTS), _WIDE_SPEC),
    Module("spec/record.py", (_RECORDS, _ROWS, _INVARIANTS), _WIDE_SPEC),
    Module("spec/events.py", ("tests/spec/test_events.py", _ROWS), _WIDE_SPEC),
    Module("spec/tables.py", ("tests/spec/test_protocol_text.py",), _WIDE_SPEC),
    Module("spec/happenings.py", (_INVARIANTS,), _WIDE_SPEC),
    Module("spec/invariants.py", (_INVARIANTS, "tests/spec/test_invariants_at_their_edges.py"), _WIDE_SPEC),
    Module("spec/errors.py", ("tests/spec/test_errors.py",), _WIDE_SPEC),
    Module("spec/settle.py", ("tests/spec/test_settle.py",), _WIDE_SPEC),
    Module("spec/waiting.py", _WAITING, _WIDE_SPEC),
    Module("spec/states.py", _MOVES, _WIDE_SEARCH),
    Module("spec/moves.py", (*_MOVES, *_OTHER_MOVES), _WIDE_SEARCH),
    Module("spec/takeover.py", _OTHER_MOVES, _WIDE_SEARCH),
    Module("spec/transactions.py", _OTHER_MOVES, _WIDE_SEARCH),
    Module("spec/explorer.py", ("tests/spec/test_traces.py",), _WIDE_SEARCH),
    Module("reference/engine.py", _ENGINE, _WIDE_REFERENCE),
    Module("reference/attempt.py", _ENGINE, _WIDE_REFERENCE),
    Module("reference/cache.py", _ENGINE, _WIDE_REFERENCE),
    Module("reference/answers.py", _ENGINE, _WIDE_REFERENCE),
    Module("reference/changes.py", _CHANGES, _WIDE_CHANGES),
    Module("reference/waiting.py", _WAITS, _WIDE_REFERENCE),
    Module("reference/early.py", ("tests/reference/test_early.py",), _WIDE_REFERENCE),
    Module("drivers/interrupts.py", _INTERRUPTS, _WIDE_REFERENCE),
)

UNEXPLAINED = (
    Module("reference/releases.py", _ENGINE, _WIDE_REFERENCE),
    Module("reference/finishing.py", _ENGINE, _WIDE_REFERENCE),
    Module("reference/final_errors.py", _FINAL, _WIDE_REFERENCE),
    Module("reference/takeover.py", _TAKEOVER, _WIDE_REFERENCE),
    Module("reference/renewal.py", _RENEWAL, _WIDE_REFERENCE),
    Module(
        "drivers/asynchronous.py",
        ("tests/reference/test_async.py", "tests/reference/test_async_cancellation.py"),
        _WIDE_REFERENCE,
    ),
    Module("reference/transactions.py", _TRANSACTIONS, _WIDE_TRANSACTIONS, "sqlite"),
    Module("reference/transaction_completion.py", _TRANSACTIONS, _WIDE_TRANSACTIONS, "sqlite"),
    Module("reference/transaction_ends.py", _TRANSACTIONS, _WIDE_TRANSACTIONS, "sqlite"),
)
"""Modules whose survivors have no reasons yet. A run of all leaves them out, and the page names them."""
