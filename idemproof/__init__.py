"""Idempotency for Python, built on an executable specification that runs in production.

Names load when they are first used, so importing the package costs almost nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backends.base import (
        AsyncBasePersistenceLayer,
        AsyncCompareAndSwapLayer,
        BasePersistenceLayer,
        CompareAndSwapLayer,
    )
    from .backends.dynamodb import AsyncDynamoDBPersistenceLayer, DynamoDBPersistenceLayer
    from .backends.memory import AsyncInMemoryPersistenceLayer, InMemoryPersistenceLayer
    from .backends.postgres import AsyncPostgresPersistenceLayer, PostgresPersistenceLayer
    from .backends.records import DataRecord
    from .backends.redis import (
        AsyncCachePersistenceLayer,
        AsyncRedisCachePersistenceLayer,
        CachePersistenceLayer,
        RedisCachePersistenceLayer,
    )
    from .backends.sqlalchemy import (
        AsyncSQLAlchemyPersistenceLayer,
        SQLAlchemyPersistenceLayer,
        idempotency_table,
    )
    from .backends.sqlite import AsyncSQLitePersistenceLayer, SQLitePersistenceLayer
    from .backends.warning import IdempotencyWarning
    from .reference.config import IdempotencyConfig, IdempotentHookFunction
    from .reference.current import CurrentAttempt, current_attempt
    from .reference.decorators import idempotent, idempotent_function
    from .reference.idempotency import Answer, Idempotency
    from .reference.not_done import NOT_DONE, NotDone
    from .reference.observers import last_call, set_default_observers
    from .reference.requests import StoreRequest
    from .spec.occurrences import Kind, Occurrence
    from .spec.record import Record

_HOMES = {
    "Answer": "reference.idempotency",
    "AsyncBasePersistenceLayer": "backends.base",
    "AsyncCachePersistenceLayer": "backends.redis",
    "AsyncCompareAndSwapLayer": "backends.base",
    "AsyncDynamoDBPersistenceLayer": "backends.dynamodb",
    "AsyncInMemoryPersistenceLayer": "backends.memory",
    "AsyncPostgresPersistenceLayer": "backends.postgres",
    "AsyncRedisCachePersistenceLayer": "backends.redis",
    "AsyncSQLAlchemyPersistenceLayer": "backends.sqlalchemy",
    "AsyncSQLitePersistenceLayer": "backends.sqlite",
    "BasePersistenceLayer": "backends.base",
    "CachePersistenceLayer": "backends.redis",
    "CompareAndSwapLayer": "backends.base",
    "CurrentAttempt": "reference.current",
    "DataRecord": "backends.records",
    "DynamoDBPersistenceLayer": "backends.dynamodb",
    "Idempotency": "reference.idempotency",
    "IdempotencyConfig": "reference.config",
    "IdempotencyWarning": "backends.warning",
    "IdempotentHookFunction": "reference.config",
    "InMemoryPersistenceLayer": "backends.memory",
    "Kind": "spec.occurrences",
    "NOT_DONE": "reference.not_done",
    "NotDone": "reference.not_done",
    "Occurrence": "spec.occurrences",
    "PostgresPersistenceLayer": "backends.postgres",
    "Record": "spec.record",
    "RedisCachePersistenceLayer": "backends.redis",
    "SQLAlchemyPersistenceLayer": "backends.sqlalchemy",
    "SQLitePersistenceLayer": "backends.sqlite",
    "current_attempt": "reference.current",
    "idempotency_table": "backends.sqlalchemy",
    "StoreRequest": "reference.requests",
    "idempotent": "reference.decorators",
    "idempotent_function": "reference.decorators",
    "last_call": "reference.observers",
    "set_default_observers": "reference.observers",
}

__all__ = [
    "NOT_DONE",
    "Answer",
    "AsyncBasePersistenceLayer",
    "AsyncCachePersistenceLayer",
    "AsyncCompareAndSwapLayer",
    "AsyncDynamoDBPersistenceLayer",
    "AsyncInMemoryPersistenceLayer",
    "AsyncPostgresPersistenceLayer",
    "AsyncRedisCachePersistenceLayer",
    "AsyncSQLAlchemyPersistenceLayer",
    "AsyncSQLitePersistenceLayer",
    "BasePersistenceLayer",
    "CachePersistenceLayer",
    "CompareAndSwapLayer",
    "CurrentAttempt",
    "DataRecord",
    "DynamoDBPersistenceLayer",
    "Idempotency",
    "IdempotencyConfig",
    "IdempotencyWarning",
    "IdempotentHookFunction",
    "InMemoryPersistenceLayer",
    "Kind",
    "NotDone",
    "Occurrence",
    "PostgresPersistenceLayer",
    "Record",
    "RedisCachePersistenceLayer",
    "SQLAlchemyPersistenceLayer",
    "SQLitePersistenceLayer",
    "StoreRequest",
    "current_attempt",
    "idempotency_table",
    "idempotent",
    "idempotent_function",
    "last_call",
    "set_default_observers",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
