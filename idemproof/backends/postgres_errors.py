"""Translates errors of psycopg into the documented ones, without secrets."""

from collections.abc import Collection

from ..drivers.exchanges import class_names
from ..spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyRecordTooLargeError,
)
from .credentials import texts

LOCKED = "55P03"
_RETRY_LOCKED_MS = 1000

_NOT_THE_TABLE = ("42P01", "42703", "42804", "42883", "42P10", "3F000", "42809", "23502", "23514", "22P02")
"""The table is absent, lacks a column, or has another type, constraint or index."""

_ACCESS = ("42501", "28000", "28P01")
_NO_DATABASE = ("3D000",)
_REFUSED_VALUE = ("22001", "22003", "54000")
_ENCODING = ("22P05", "22021")

_ACCESS_TEXTS = ("password authentication failed", "no password supplied", "no pg_hba.conf entry")
_DATABASE_TEXTS = ('database "', 'role "')
"""Texts of refused connections, whose errors have no SQLSTATE."""

_MOVED_CLASSES = ("08", "57P")
_MOVED = ("25006", "0A000", "26000", "42P05")
"""A read-only session; and prepared statements that are outdated, gone, or not ours."""


def sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of a server's error, or ''."""
    return getattr(error, "sqlstate", None) or ""


def may_have_moved(error: BaseException) -> bool:
    """Return whether idle connections may lead to a server that has stopped, or is no longer the primary."""
    state = sqlstate(error)
    if state:
        return state in _MOVED or state.startswith(_MOVED_CLASSES)
    return bool(class_names(error) & {"OperationalError", "InterfaceError", "OSError"})


def translate_error(error: Exception, what: str, table: str, secrets: Collection[str]) -> IdempotencyError:
    """Return the documented error for ``error``, which becomes its cause unless it contains a secret.

    Parameters
    ----------
    error
        The exception of the client.
    what
        The key that the request was for, quoted, or what else it was for.
    table
        The quoted name of the table.
    secrets
        Texts that must not appear.
    """
    state = sqlstate(error)
    secret = any(each in text for text in texts(error) for each in secrets)
    message = type(error).__name__
    message += (
        " (its text would show the password)" if secret else f": {str(error).strip().removesuffix('.')}"
    )
    named: IdempotencyError
    if state == LOCKED:
        named = IdempotencyAlreadyInProgressError(
            f"A transaction holds the record of {what} locked. Nothing was written. Retry.",
            retry_after_ms=_RETRY_LOCKED_MS,
        )
        # The engine then has no claim to release, and waits with a completion.
        named.nothing_written = True  # type: ignore[attr-defined]
    elif state in _NOT_THE_TABLE:
        named = IdempotencyPersistenceConfigError(
            f"The table {table} cannot be used for {what}: {message}. Nothing was written. Create the table "
            "with create_table(), or use another one."
        )
    elif state in _REFUSED_VALUE:
        named = IdempotencyRecordTooLargeError(
            f"PostgreSQL refuses the record of {what}: {message}. It was not stored."
        )
    elif state in _ENCODING or isinstance(error, UnicodeError):
        named = IdempotencyPersistenceConfigError(
            f"The encoding of the database or of the connection lacks characters of the record of {what}: "
            f"{message}. Nothing was written. Use UTF8 for both."
        )
    elif state in _ACCESS or (not state and any(text in message for text in _ACCESS_TEXTS)):
        named = IdempotencyPersistenceConfigError(
            f"PostgreSQL denies access for {what}: {message}. Check the user and its privileges on {table}: "
            "SELECT, INSERT, UPDATE and DELETE."
        )
        named.may_pass = True
    elif state in _NO_DATABASE or (
        not state and "does not exist" in message and any(text in message for text in _DATABASE_TEXTS)
    ):
        named = IdempotencyPersistenceConfigError(f"PostgreSQL has no place for {what}: {message}.")
    else:
        named = IdempotencyPersistenceConnectionError(
            f"PostgreSQL did not serve a request for {what}: {message}. Retry."
        )
    if not secret:
        named.__cause__ = error
    return named
