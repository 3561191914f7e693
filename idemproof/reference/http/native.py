"""The responses of frameworks as plain data. They are known by what they offer: no framework is imported."""

from itertools import chain
from typing import Any

from .messages import Headers, Response, encoded, lowered


def response_of(answer: Any) -> Response | None:
    """Return a response of Starlette, FastAPI, Django or Flask as plain data; None for all else, and streams.

    Parameters
    ----------
    answer
        The response, or a :class:`Response`, which is returned as it is.
    """
    if isinstance(answer, Response):
        return answer
    if hasattr(answer, "raw_headers") and hasattr(answer, "body"):  # Starlette: a stream has no body
        return Response(int(answer.status_code), lowered(answer.raw_headers), bytes(answer.body))
    if getattr(answer, "streaming", None) is False:  # Django
        return Response(int(answer.status_code), django_headers(answer), answer.content)
    if getattr(answer, "is_streamed", None) is False:  # Flask
        return Response(int(answer.status_code), encoded(answer.headers.items()), answer.get_data())
    return None


def django_headers(response: Any) -> Headers:
    """Return the headers of a response of Django, with its cookies."""
    cookies = (("Set-Cookie", each.OutputString()) for each in response.cookies.values())
    return encoded(chain(response.items(), cookies))
