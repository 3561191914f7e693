"""Refuse responses of web frameworks: they are not data, so a replay would differ."""

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

_FRAMEWORKS = frozenset(
    (
        "aiohttp",
        "aws_lambda_powertools",
        "blacksheep",
        "bottle",
        "chalice",
        "django",
        "falcon",
        "fastapi",
        "flask",
        "httpx",
        "litestar",
        "ninja",
        "pyramid",
        "quart",
        "requests",
        "rest_framework",
        "robyn",
        "sanic",
        "starlette",
        "tornado",
        "webob",
        "werkzeug",
    )
)
_RESPONSES = frozenset(
    ("Response", "BaseResponse", "HttpResponseBase", "StreamResponse", "HTTPResponse", "BaseHTTPResponse")
)

WAY_OUT = (
    "Protect a function that returns plain data, such as a dict with the status and the body, and build the "
    "response from it in the view."
)


def is_response_class(kind: Any) -> bool:
    """Return whether a class is a response of a web framework, without importing a framework."""
    return isinstance(kind, type) and any(
        base.__name__ in _RESPONSES and base.__module__.partition(".")[0] in _FRAMEWORKS
        for base in kind.__mro__
    )


def response_in(annotation: Any) -> Any:
    """Return the response class in an annotation, alone or in a union or tuple; None if there is none."""
    if is_response_class(typing.get_origin(annotation) or annotation):
        return typing.get_origin(annotation) or annotation
    return next(filter(None, map(response_in, typing.get_args(annotation))), None)


def view_response_refusal(result: tuple[Any, ...], function: Callable[..., Any]) -> str | None:
    """Return why a tuple is refused, if a view returned a body with a status or headers; else None.

    Parameters
    ----------
    result
        What the function returned.
    function
        The function. It is a view if the application calls it, or a decorator around it, for this request.
    """
    code = _code(function)
    if code is None or not _has_response_form(result):
        return None
    for name, view in _running_views():
        if any(_code(each) is code for each in _layers(view)):
            return (
                f"the {name} view returned a tuple of a body with a status or headers, which JSON turns into "
                f"a list: {name} would send that list with status 200. {WAY_OUT}"
            )
    return None


_EVENT_HANDLER = "aws_lambda_powertools.event_handler"


def _running_views() -> Iterator[tuple[str, Any]]:
    """Yield the views of the requests in progress, with the names of their frameworks."""
    for name in ("flask", "quart"):
        framework = sys.modules.get(name)
        in_request = getattr(framework, "has_request_context", None)
        if framework is not None and in_request is not None and in_request():
            yield name.capitalize(), framework.current_app.view_functions.get(framework.request.endpoint)
    if _EVENT_HANDLER in sys.modules:
        # Its routes are in private attributes, so they are found in the frames.
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            if str(frame.f_globals.get("__name__")).startswith(_EVENT_HANDLER):
                for local in frame.f_locals.values():
                    if inspect.isroutine(local):
                        yield "Powertools", local
            frame = frame.f_back


_METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "dispatch_request")

_PAIR, _TRIPLE = 2, 3
_STATUSES = range(100, 600)


def _has_response_form(result: tuple[Any, ...]) -> bool:
    """Return whether Flask would read a tuple as a body with a status, headers, or both."""
    if len(result) not in (_PAIR, _TRIPLE):
        return False
    *statuses, last = result[1:]
    return all(map(_is_status, statuses)) and (
        _is_headers(last) or (not statuses and _is_status(last)) or (bool(statuses) and last is None)
    )


def _is_status(value: Any) -> bool:
    if isinstance(value, int):
        return value in _STATUSES
    return isinstance(value, str) and value[:3].isdigit() and int(value[:3]) in _STATUSES


def _is_headers(value: Any) -> bool:
    return isinstance(value, dict | list | tuple) or callable(getattr(value, "get_all", None))


def _layers(view: Any) -> Iterator[Any]:
    """Yield a view, the functions it wraps, and the methods of a class-based view."""
    seen: set[int] = set()
    pending = [view]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending.append(getattr(current, "__wrapped__", None))
        pending.append(getattr(current, "func", None))
        methods = getattr(current, "view_class", None)
        pending.extend(getattr(methods, name, None) for name in _METHODS)


def _code(function: Any) -> Any:
    inner = inspect.unwrap(function) if callable(function) else function
    return getattr(getattr(inner, "__func__", inner), "__code__", None)
