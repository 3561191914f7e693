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
    from .backends.records import DataRecord
    from .backends.redis import (
        AsyncCachePersistenceLayer,
        AsyncRedisCachePersistenceLayer,
        CachePersistenceLayer,
        RedisCachePersistenceLayer,
    )
    from .backends.sqlite import AsyncSQLitePersistenceLayer, SQLitePersistenceLayer
    from .backends.warning import IdempotencyWarning
    from .reference.config import IdempotencyConfig, IdempotentHookFunction
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
    "AsyncRedisCachePersistenceLayer": "backends.redis",
    "AsyncSQLitePersistenceLayer": "backends.sqlite",
    "BasePersistenceLayer": "backends.base",
    "CachePersistenceLayer": "backends.redis",
    "CompareAndSwapLayer": "backends.base",
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
    "Record": "spec.record",
    "RedisCachePersistenceLayer": "backends.redis",
    "SQLitePersistenceLayer": "backends.sqlite",
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
    "AsyncRedisCachePersistenceLayer",
    "AsyncSQLitePersistenceLayer",
    "BasePersistenceLayer",
    "CachePersistenceLayer",
    "CompareAndSwapLayer",
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
    "Record",
    "RedisCachePersistenceLayer",
    "SQLitePersistenceLayer",
    "StoreRequest",
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
