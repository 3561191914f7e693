"""Shell commands that send a request of the judge again."""

import shlex

from .places import Place
from .texts import VARIABLE
from .wire import Request

_LONGEST_BODY = 2000


def curl(request: Request, place: Place, *, in_background: bool = False) -> str:
    """Return a command that sends a whole request. Variables of the environment stay variables."""
    words = ["curl -si", "-X", shlex.quote(request.method), _quoted(place.origin + request.path)]
    for name, value in request.headers:
        words += ["-H", _quoted(f"{name}: {value}" if value else f"{name};")]
    if not any(name.lower() == "content-type" for name, _ in request.headers) and request.body:
        words += ["-H", "'Content-Type;'"]
    if request.chunked:
        words += ["-H", "'Transfer-Encoding: chunked'"]
    if request.body:
        words += ["--data-binary", _body(request.body)]
    return " ".join(words) + (" &" if in_background else "")


def part(sent: bytes, place: Place, *, then: str = "") -> str:
    """Return a command that sends some bytes of a request, and closes the connection."""
    text = sent.decode("utf-8", "backslashreplace").replace("\\", "\\\\").replace("%", "%%")
    escaped = text.replace("\r", "\\r").replace("\n", "\\n")
    if len(escaped) > _LONGEST_BODY:
        escaped = f"{escaped[:_LONGEST_BODY]}…"
    return f"printf {_quoted(escaped)} | timeout 1 nc {shlex.quote(place.host)} {place.port}{then}"


def _body(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"@body  # {len(body):,} bytes that are not text: {body[:24].hex()}…"
    return _quoted(text) if len(text) <= _LONGEST_BODY else f"@body  # {len(body):,} bytes"


def _quoted(text: str) -> str:
    """Quote a text for a shell, so that of all that is in it only ``${NAME}`` is expanded."""
    return VARIABLE.sub("""'"\\g<0>"'""", shlex.quote(text))
