"""Classifies and translates errors of SQLAlchemy and of the drivers below it, without secrets and results."""

from collections.abc import Collection
from enum import Enum, auto
from typing import TypeVar

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ..spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyRecordTooLargeError,
)
from .credentials import secrets_in, texts

_Error = TypeVar("_Error", bound=IdempotencyError)


class Trouble(Enum):
    """What an error of a database means."""

    TAKEN = auto()
    """A row with this key exists."""
    LOCKED = auto()
    """Another transaction has locked the row."""
    BUSY = auto()
    """Another connection has locked the file."""
    CONFLICT = auto()
    """The transaction was rolled back because of another one, and can be repeated."""
    READ_ONLY = auto()
    TOO_LARGE = auto()
    NO_TABLE = auto()
    REFUSED = auto()
    """Missing permissions, a missing database, or a text that the database cannot store."""
    CORRUPT = auto()
    OTHER = auto()


_BY_STATE = {
    "55P03": Trouble.LOCKED,
    **dict.fromkeys(("40001", "40P01"), Trouble.CONFLICT),
    "25006": Trouble.READ_ONLY,
    **dict.fromkeys(("54000", "22001"), Trouble.TOO_LARGE),
    "42P01": Trouble.NO_TABLE,
    **dict.fromkeys(
        ("42501", "28P01", "28000", "3D000", "3F000", "42703", "22021", "22003"), Trouble.REFUSED
    ),
}
"""By SQLSTATE."""

_BY_NUMBER = {
    **dict.fromkeys((1205, 3572), Trouble.LOCKED),
    **dict.fromkeys((1213, 1020), Trouble.CONFLICT),
    **dict.fromkeys((1290, 1792, 1836), Trouble.READ_ONLY),
    **dict.fromkeys((1153, 1301, 1406), Trouble.TOO_LARGE),
    1146: Trouble.NO_TABLE,
    **dict.fromkeys((1044, 1045, 1049, 1054, 1264, 1142, 1143, 1227, 1698), Trouble.REFUSED),
}
"""By the error number of MySQL and MariaDB."""

_BY_SQLITE_CODE = {
    **dict.fromkeys((5, 6), Trouble.BUSY),
    8: Trouble.READ_ONLY,
    18: Trouble.TOO_LARGE,
    **dict.fromkeys((3, 14, 23), Trouble.REFUSED),
}

_MAY_PASS = {"42501", "28P01", "28000", 1044, 1045, 1142, 1143, 1227, 1698}


def trouble_of(error: BaseException) -> Trouble:  # noqa: PLR0911 - one kind after the other
    """Return what ``error`` means."""
    if isinstance(error, IntegrityError):
        return Trouble.TAKEN
    if isinstance(error, UnicodeDecodeError):
        return Trouble.CORRUPT
    driver = _of_driver(error)
    if driver is None:
        return Trouble.OTHER
    if isinstance(driver, UnicodeEncodeError) or "NUL (0x00)" in str(driver):
        return Trouble.REFUSED
    if isinstance(driver, OverflowError):
        return Trouble.TOO_LARGE
    sqlite = getattr(driver, "sqlite_errorcode", None)
    if sqlite is not None:
        if "no such table" in str(driver):
            return Trouble.NO_TABLE
        return _BY_SQLITE_CODE.get(sqlite & 0xFF, Trouble.OTHER)
    if "decode to UTF-8" in str(driver):
        return Trouble.CORRUPT
    if "too big" in str(driver):
        return Trouble.TOO_LARGE
    return _BY_STATE.get(_state(driver)) or _BY_NUMBER.get(_number(driver), Trouble.OTHER)


def is_lost_connection(error: BaseException) -> bool:
    """Return whether the connection broke, so that the statement may or may not have been executed."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def named_error(error: Exception, where: str, key: str | None, url: URL) -> IdempotencyError:
    """Return the documented error for ``error``, which becomes its cause unless it contains a secret.

    Parameters
    ----------
    error
        The exception of SQLAlchemy or of the driver.
    where
        The table, for the message.
    key
        The key of the request, or None.
    url
        The address of the database, whose secrets the message must not contain.
    """
    whose = "" if key is None else f" for {key!r}"
    driver = _of_driver(error) or error
    secret = _contains(error, _secrets(url))
    message = type(driver).__name__
    # Only the driver's text: SQLAlchemy's own also has the statement.
    message += " (its text would show the password)" if secret else f": {driver}".removesuffix(".")
    named = _named(
        trouble_of(error), error, f"{where} did not serve a request{whose}: {message}", where, whose
    )
    if not secret:
        named.__cause__ = error
    return named


def _named(trouble: Trouble, error: Exception, what: str, where: str, whose: str) -> IdempotencyError:
    named: IdempotencyError
    if trouble is Trouble.LOCKED:
        named = locked(where, whose)
    elif trouble is Trouble.BUSY:
        named = _unwritten(
            IdempotencyPersistenceConnectionError(
                f"{what}. Another connection held the lock for longer than the driver's timeout. Nothing was "
                "written. If this call was made inside a transaction of the application that has used this "
                "file, it waited for itself: begin the transaction in the function, or end it before the "
                "call."
            )
        )
    elif isinstance(error, PoolTimeoutError):
        named = _unwritten(
            IdempotencyPersistenceConnectionError(
                f"{where}: no connection became free{whose}. Nothing was written. Retry, or give the engine "
                "a larger pool_size."
            )
        )
    elif trouble is Trouble.CONFLICT:
        named = _unwritten(IdempotencyPersistenceConnectionError(f"{what}. Nothing was written. Retry."))
    elif trouble is Trouble.READ_ONLY:
        named = IdempotencyPersistenceConnectionError(
            f"{what}. The server accepts no writes: it may be a replica, or a failover is not over. Retry."
        )
    elif trouble is Trouble.TOO_LARGE:
        named = IdempotencyRecordTooLargeError(f"{what}. The record is too large, and was not stored.")
    elif trouble is Trouble.CORRUPT:
        named = IdempotencyInvalidStatusError(
            f"The record stored{whose} is corrupt: {error}. Inspect it, and delete it if the operation may "
            "run again."
        )
    elif trouble in (Trouble.NO_TABLE, Trouble.REFUSED, Trouble.TAKEN):
        refused = IdempotencyPersistenceConfigError(
            f"{what}. Nothing was written. Check the table, the permissions for SELECT, INSERT, UPDATE and "
            "DELETE, and whether the database can store the text: PostgreSQL stores no NUL character."
        )
        driver = _of_driver(error) or error
        refused.may_pass = trouble is Trouble.NO_TABLE or bool({_state(driver), _number(driver)} & _MAY_PASS)
        named = refused
    else:
        named = IdempotencyPersistenceConnectionError(f"{what}. Retry.")
    return named


def locked(where: str, whose: str) -> IdempotencyAlreadyInProgressError:
    """Return the error for a record that another transaction has locked."""
    return _unwritten(
        IdempotencyAlreadyInProgressError(
            f"{where}: another transaction has locked the record{whose}, so its operation is in progress. "
            "Nothing was written. Retry."
        )
    )


def _unwritten(error: _Error) -> _Error:
    vars(error)["nothing_written"] = True  # the engine looks for it
    return error


def _of_driver(error: BaseException) -> BaseException | None:
    """Return the error of the driver below an error of SQLAlchemy."""
    return error.orig if isinstance(error, StatementError) else error


def _state(driver: BaseException) -> str:
    return getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None) or ""


def _number(driver: BaseException) -> int:
    number = driver.args[0] if driver.args else None
    return number if isinstance(number, int) else 0


def _secrets(url: URL) -> Collection[str]:
    query = type("_Query", (), {})()
    vars(query).update({name: value for name, value in url.query.items() if isinstance(value, str)})
    password = [] if url.password is None else [str(url.password)]
    return [*password, *secrets_in(query)]


def _contains(error: BaseException, secrets: Collection[str]) -> bool:
    return any(secret in text for text in texts(error) for secret in secrets)
