"""The stored form of a response."""

import base64
import binascii
from collections.abc import Collection
from typing import Any

from ...spec.errors import IdempotencySerializationError
from ..results.custom import ResultChangedError
from ..results.serializers import BaseIdempotencySerializer
from .decisions import replayed_headers
from .messages import Response, decoded
from .native import response_of


class TooLargeError(ResultChangedError):
    """A response is larger than the limit, so it is recorded as unavailable (HTTP-16)."""


class Unfinished(Response):
    """A response that is larger than the limit. Its body is not kept."""


class ResponseSerializer(BaseIdempotencySerializer):
    """Converts responses to JSON data and back, without the headers that replays leave out (HTTP-22).

    Parameters
    ----------
    dropped, kept
        Lower-case names of headers that are left out, or that are repeated nevertheless.
    """

    def __init__(self, dropped: Collection[bytes], kept: Collection[bytes]) -> None:
        self._dropped, self._kept = dropped, kept

    def to_dict(self, data: Any) -> dict[str, Any]:
        """Return the data to store for a response, also one of a framework (HTTP-27).

        Raises
        ------
        TooLargeError
            The response is larger than the limit.
        IdempotencySerializationError
            The application completes its attempt itself, and not with a response, or with a stream.
        """
        if isinstance(data, Unfinished):
            raise TooLargeError("the response is larger than response_limit")
        response = response_of(data)
        if response is None:
            raise IdempotencySerializationError(
                f"A request was completed with a {type(data).__name__}. Nothing was written. Complete it "
                "with the response that it is answered with: one of its framework that is no stream, or a "
                "Response of idemproof.http."
            )
        body: Any
        try:
            body = response.body.decode("utf-8")
        except UnicodeDecodeError:
            body = {"base64": base64.b64encode(response.body).decode("ascii")}
        headers = decoded(replayed_headers(response.headers, self._dropped, self._kept))
        return {"status": response.status, "headers": headers, "body": body}

    def from_dict(self, data: Any) -> Response:
        """Return the response that was stored.

        Raises
        ------
        ValueError
            The data is not a stored response.
        """
        try:
            status, body = data["status"], data["body"]
            headers = tuple(
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in data["headers"]
            )
            content = (
                base64.b64decode(body["base64"], validate=True) if isinstance(body, dict) else body.encode()
            )
        except (KeyError, TypeError, AttributeError, UnicodeEncodeError, binascii.Error) as error:
            raise ValueError("The stored record is not a response of an HTTP middleware.") from error
        if type(status) is not int or not 100 <= status <= 999:  # noqa: PLR2004 - what a status can be
            raise ValueError("The stored record is not a response of an HTTP middleware.")
        return Response(status, headers, content)
