"""A subscription service reads the address, user and password of its Redis from AWS Secrets Manager.

It reads the secret once, when Lambda starts the environment. The connection is encrypted, and the server's
certificate is checked against the authorities that the system trusts.
"""

import json
import os

import boto3

from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent

secrets = boto3.client("secretsmanager")
found = secrets.get_secret_value(SecretId=os.environ.get("REDIS_SECRET", "billing/redis"))
redis_secret = json.loads(found["SecretString"])  # {"host": …, "port": …, "username": …, "password": …}

store = RedisCachePersistenceLayer(
    host=redis_secret["host"],
    port=redis_secret["port"],
    username=redis_secret["username"],
    password=redis_secret["password"],
)
config = IdempotencyConfig(event_key_jmespath="[subscription_id, period]")
bills: list[tuple[str, str]] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    bills.append((event["subscription_id"], event["period"]))
    return {"bill": len(bills), "cents": event["cents"]}
