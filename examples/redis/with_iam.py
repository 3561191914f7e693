"""A cinema whose ElastiCache checks IAM: each new connection gets a fresh token in place of a password.

The token is a signed request that ElastiCache verifies. A token is valid for 15 minutes, and a connection for
12 hours. The role needs `elasticache:Connect` on the cache and on the user.
"""

import os
from urllib.parse import urlencode

import botocore.session
import redis
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent


class IAMCredentials(redis.CredentialProvider):
    def __init__(self, user: str, cache: str, region: str) -> None:
        session = botocore.session.get_session()
        self.user, self.cache = user, cache
        self.signer = RequestSigner(
            ServiceId("elasticache"),
            region,
            "elasticache",
            "v4",
            session.get_credentials(),
            session.get_component("event_emitter"),
        )

    def get_credentials(self) -> tuple[str, str]:
        query = {
            "Action": "connect",
            "User": self.user,
        }  # and "ResourceType": "ServerlessCache", if it is one
        request = {
            "method": "GET",
            "url": f"https://{self.cache}/?{urlencode(query)}",
            "body": {},
            "headers": {},
            "context": {},
        }
        url = self.signer.generate_presigned_url(request, operation_name="connect", expires_in=900)
        return self.user, url.removeprefix("https://")


client = redis.Redis(  # redis.RedisCluster, if the cache is a cluster or serverless
    host=os.environ["REDIS_HOST"],
    port=int(os.environ.get("REDIS_PORT", "6379")),
    ssl=True,
    socket_connect_timeout=5,
    socket_timeout=5,
    credential_provider=IAMCredentials("cinema", "tickets", os.environ["AWS_REGION"]),
)
store = RedisCachePersistenceLayer(client=client)
config = IdempotencyConfig(event_key_jmespath="booking_id")
seats_sold: list[str] = []


@idempotent(persistence_store=store, config=config)
def handler(event: dict, context: object) -> dict:
    seats_sold.append(event["seat"])
    return {"ticket": f"T-{len(seats_sold)}", "seat": event["seat"]}
