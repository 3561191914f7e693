"""The stored form of a response."""

import base64
import binascii
from typing import Any

from ...spec.errors import IdempotencySerializationError
from ..results.custom import ResultChangedError
from ..results.serializers import BaseIdempotencySerializer
from .messages import Response, decoded


class TooLargeError(ResultChangedError):
    """A response is larger than the limit, so it is recorded as unavailable (HTTP-16)."""


class Unfinished(Response):
    """A response that is larger than the limit. Its body is not kept."""


class ResponseSerializer(BaseIdempotencySerializer):
    """Converts responses to JSON data and back."""

    def to_dict(self, data: Any) -> dict[str, Any]:
        """Return the data to store for a response.

        Raises
        ------
        TooLargeError
            The response is larger than the limit.
        IdempotencySerializationError
            The application completes its attempt itself, and not with a response.
        """
        if not isinstance(data, Response):
            raise IdempotencySerializationError(
                f"A request was completed with a {type(data).__name__}. Nothing was written. Complete it "
                "with a Response of idemproof.http, which has the status, the headers and the body."
            )
        if isinstance(data, Unfinished):
            raise TooLargeError("the response is larger than response_limit")
        body: Any
        try:
            body = data.body.decode("utf-8")
        except UnicodeDecodeError:
            body = {"base64": base64.b64encode(data.body).decode("ascii")}
        headers = [list(line) for line in decoded(data.headers)]
        return {"status": data.status, "headers": headers, "body": body}

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
