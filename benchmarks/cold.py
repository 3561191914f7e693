"""A new process that imports a library and makes one call. ``processes.py`` runs and times it.

``cold.py CONTESTANT STORE ADDRESS`` prints the milliseconds from the first import to the first answer, and
the answer. boto3 gets the address of DynamoDB from the environment. The address of Redis is a port.
"""

import json
import sys
import time

STARTED = time.perf_counter()

TABLE = "benchmarks"
RETENTION_MS = 3_600_000


class Context:
    """A Lambda context with half a minute left."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds left."""
        return 30_000


def work(payload: dict) -> dict:
    """Do the work."""
    return {"statusCode": 200, "handled": payload["order_id"]}


def idemproof(store: str, port: int):  # noqa: ANN201 - whatever is protected
    """Protect the work with Idemproof."""
    from idemproof import IdempotencyConfig, idempotent_function  # noqa: PLC0415 - what is measured

    if store == "dynamodb":
        from idemproof import DynamoDBPersistenceLayer  # noqa: PLC0415

        layer = DynamoDBPersistenceLayer(TABLE)
    else:
        from idemproof import RedisCachePersistenceLayer  # noqa: PLC0415

        layer = RedisCachePersistenceLayer(host="127.0.0.1", port=port, ssl=False)
    config = IdempotencyConfig(lambda_context=Context())
    return idempotent_function(work, data_keyword_argument="payload", persistence_store=layer, config=config)


def powertools(store: str, port: int):  # noqa: ANN201
    """Protect the work with Powertools."""
    from aws_lambda_powertools.utilities.idempotency import (  # noqa: PLC0415
        IdempotencyConfig,
        idempotent_function,
    )

    if store == "dynamodb":
        from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer  # noqa: PLC0415

        layer = DynamoDBPersistenceLayer(TABLE)
    else:
        from aws_lambda_powertools.utilities.idempotency.persistence.redis import (  # noqa: PLC0415
            CachePersistenceLayer,
        )

        layer = CachePersistenceLayer(host="127.0.0.1", port=port, ssl=False)
    config = IdempotencyConfig(lambda_context=Context())
    return idempotent_function(work, data_keyword_argument="payload", persistence_store=layer, config=config)


def idemkit(store: str, port: int):  # noqa: ANN201, ARG001 - it runs on Redis alone here
    """Protect the work with idemkit."""
    from idemkit import MethodConfig, RedisBackend, idempotent_sync  # noqa: PLC0415

    backend = RedisBackend.from_url(f"redis://127.0.0.1:{port}")
    config = MethodConfig(key_fields=["payload"], scope=lambda: "benchmarks")
    return idempotent_sync(backend=backend, config=config)(work)


def bare(store: str, port: int):  # noqa: ANN201
    """Do the work between two plain writes."""
    if store == "dynamodb":
        import boto3  # noqa: PLC0415

        client = boto3.Session().client("dynamodb")

        def write(key: str, text: str) -> None:
            client.put_item(TableName=TABLE, Item={"id": {"S": key}, "data": {"S": text}})
    else:
        import redis  # noqa: PLC0415

        client = redis.Redis(port=port)

        def write(key: str, text: str) -> None:
            client.set(key, text, px=RETENTION_MS)

    def call(payload: dict) -> dict:
        key = f"bare#{payload['order_id']}"
        write(key, "claimed")
        answer = work(payload)
        write(key, json.dumps(answer))
        return answer

    return call


def main() -> None:
    """Import, set up, call, and print the result."""
    contestant, store, address, number = sys.argv[1:]
    protect = {"idemproof": idemproof, "Powertools": powertools, "idemkit": idemkit, "bare": bare}[contestant]
    answer = protect(store, int(address))(payload={"order_id": f"o-{number}", "amount": 1250})
    elapsed = (time.perf_counter() - STARTED) * 1000
    print(json.dumps({"milliseconds": elapsed, "answer": answer}))


if __name__ == "__main__":
    main()
