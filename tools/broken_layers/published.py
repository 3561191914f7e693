"""Layers of published packages, each over a simulated server in this process.

This module installs nothing: a layer can be made only if its package is installed.
"""

import json
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from idemproof.backends.base import AsyncBasePersistenceLayer
from idemproof.backends.clock import wall_clock_ms
from idemproof.backends.records import DataRecord
from idemproof.conformance.suite.capabilities import Capabilities
from idemproof.conformance.suite.checks import TIERS
from idemproof.conformance.suite.factories import Factory
from idemproof.spec.errors import (
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyLeaseLostError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS

Tokens = dict[tuple[str, str | None], str]
"""The token that a backend issued, by key and owner."""


class Specimen(NamedTuple):
    """A layer of a published package.

    Parameters
    ----------
    name
        The unique name, such as ``powertools-redis``.
    package
        The package on the index, with its version.
    store
        A description of the simulated store.
    make
        Returns a factory for one ``check``. Closing the given stack closes what the factory uses.
    capabilities, tiers
        The claims and the tiers to test it with.
    """

    name: str
    package: str
    store: str
    make: Callable[[ExitStack], Factory]
    capabilities: Capabilities = Capabilities(fenced=True, processes=False)
    tiers: tuple[str, ...] = TIERS


def powertools_dynamodb(stack: ExitStack) -> Factory:
    """Return a factory of Powertools layers over one table that moto simulates."""
    import boto3  # noqa: PLC0415 - see the module
    from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer  # noqa: PLC0415
    from moto import mock_aws  # noqa: PLC0415

    stack.enter_context(mock_aws())
    session = boto3.Session("testing", "testing", region_name="eu-west-1")
    client = session.client("dynamodb")
    stack.callback(client.close)
    table = uuid.uuid4().hex
    client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return lambda: DynamoDBPersistenceLayer(table_name=table, boto3_client=client)


def powertools_redis(stack: ExitStack) -> Factory:
    """Return a factory of Powertools layers over one server that fakeredis simulates."""
    import fakeredis  # noqa: PLC0415 - see the module
    from aws_lambda_powertools.utilities.idempotency.persistence.redis import (  # noqa: PLC0415
        CachePersistenceLayer,
    )

    server = fakeredis.FakeServer()

    def make() -> Any:
        client: Any = fakeredis.FakeRedis(server=server, decode_responses=True)
        stack.callback(client.close)
        return CachePersistenceLayer(client=client)

    return make


def idemkit_redis(_stack: ExitStack) -> Factory:
    """Return a factory of layers over idemkit's Redis backend and one server that fakeredis simulates."""
    import fakeredis  # noqa: PLC0415 - see the module
    from idemkit.backends.redis import RedisBackend  # noqa: PLC0415

    server = fakeredis.FakeServer()
    tokens: Tokens = {}
    return lambda: IdemkitLayer(RedisBackend(fakeredis.FakeAsyncRedis(server=server)), tokens)


class IdemkitLayer(AsyncBasePersistenceLayer):
    """A backend of idemkit, with the four documented methods.

    A backend issues a token with each claim, and requires it later. It has no fields for the expiry, the
    payload hash and whether there is a lease, so its ``fingerprint`` field carries them.

    Parameters
    ----------
    theirs
        The backend.
    tokens
        The issued tokens, shared by all layers of a store, because an attempt may continue on another layer.
    """

    def __init__(self, theirs: Any, tokens: Tokens) -> None:
        self.theirs = theirs
        self._tokens = tokens

    async def aclose(self) -> None:
        """Close the backend."""
        await self.theirs.aclose()

    async def _get_record(self, idempotency_key: str) -> DataRecord:
        found = await self.theirs._get_record(idempotency_key)
        if found is None:
            raise IdempotencyItemNotFoundError(f"No record has the key {idempotency_key!r}.")
        return _ours(found)

    async def _put_record(self, data_record: DataRecord) -> None:
        key, _, expiry, lease, _, payload_hash, _, owner = data_record
        seconds = ((expiry * 1000 if lease is None else lease) - wall_clock_ms()) / 1000
        carried = json.dumps([payload_hash, expiry, lease is not None])
        claimed = await self.theirs.claim(key, carried, 1, seconds)
        if claimed.our_claim_token is None:
            raise IdempotencyItemAlreadyExistsError(
                f"A live record has the key {key!r}.", old_data_record=_ours(claimed.record)
            )
        self._tokens[key, owner] = claimed.our_claim_token

    async def _update_record(self, data_record: DataRecord) -> None:
        key, _, expiry, _, response, _, _, owner = data_record
        headers = {"expiry": str(expiry)}
        seconds = expiry - wall_clock_ms() / 1000
        body = (response or "").encode()
        if not await self.theirs.complete(key, await self._token(key, owner), 200, headers, body, seconds):
            raise IdempotencyLeaseLostError(f"The claim on {key!r} no longer belongs to this attempt.")

    async def _delete_record(self, data_record: DataRecord) -> None:
        key, owner = data_record.idempotency_key, data_record.owner
        if not await self.theirs.release(key, await self._token(key, owner)):
            raise IdempotencyLeaseLostError(f"The claim on {key!r} no longer belongs to this attempt.")

    async def _token(self, key: str, owner: str | None) -> str:
        """Return the token of an owner's claim; without an owner, the token of the current claim."""
        if not owner:
            holder = await self.theirs._get_record(key)
            return "" if holder is None else str(holder.claim_token)
        return self._tokens.get((key, owner), "")


def _ours(theirs: Any) -> DataRecord:
    payload_hash, expiry, leased = json.loads(theirs.fingerprint)
    done = theirs.state.name == COMPLETED
    return DataRecord(
        theirs.effective_key,
        COMPLETED if done else INPROGRESS,
        int(theirs.response_headers["expiry"]) if done else expiry,
        round(theirs.lease_until * 1000) if leased and not done else None,
        theirs.response_body.decode() if done else "",
        payload_hash,
    )


SPECIMENS = (
    Specimen(
        "powertools-dynamodb",
        "aws-lambda-powertools 3.37.0",
        "a table simulated by moto, without stress tests, because its requests are not atomic",
        powertools_dynamodb,
        tiers=tuple(tier for tier in TIERS if tier != "concurrency"),
    ),
    Specimen(
        "powertools-redis",
        "aws-lambda-powertools 3.37.0",
        "a server simulated by fakeredis",
        powertools_redis,
    ),
    Specimen(
        "powertools-redis-races",
        "aws-lambda-powertools 3.37.0",
        "a server simulated by fakeredis; races only, without fencing",
        powertools_redis,
        Capabilities(fenced=False, processes=False),
        ("exclusion",),
    ),
    Specimen("idemkit-redis", "idemkit 1.0.2", "a server simulated by fakeredis", idemkit_redis),
)
"""The layers that ``docs/reports`` covers."""
