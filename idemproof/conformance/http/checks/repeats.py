"""Checks of what a repeated request is answered."""

import gzip
import math
from urllib.parse import urljoin

from ...suite.checks import NotJudged, NotOffered
from ...suite.consequences import DIFFERS, LEAKED, LOCKED_OUT, LOST, UNCLEAR
from ..answers import decoded, difference, difference_of_headers, is_equal
from ..case import HttpCase
from ..checking import check
from ..target_file import split
from ..topics import FINAL, HEADERS, LARGE, ONCE, REPLAYED

_OTHER_KEYS = 40
_GZIP_MAGIC = b"\x1f\x8b"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@check("repeats", *ONCE, *REPLAYED)
def a_repeat_has_no_second_effect(case: HttpCase) -> None:
    """A repeated request gets the first answer, and its effect happens once."""
    request = case.request(case.make.new_key())
    first = case.first(request)
    for _ in range(3):
        case.require_repeat(first, case.until_decided(request), "A request was repeated")


@check("repeats", *ONCE, *REPLAYED)
def an_answer_outlives_other_keys(case: HttpCase) -> None:
    """An answer is still repeated after many requests with other keys."""
    request = case.request(case.make.new_key())
    first = case.first(request)
    sent = succeeded = 0
    window = case.target.window_seconds or math.inf
    while sent < _OTHER_KEYS and case.seconds < window / 2:
        other = case.request(case.make.new_key(), unique=case.make.unique())
        succeeded += case.service.exchange(other).succeeded
        sent += 1
    case.log("client 2", f"sends {sent} requests with other keys, of which {succeeded} succeed")
    repeat = case.until_decided(request)
    case.require_once("A request was repeated after others", 1 + succeeded)
    if repeat.failure is not None or difference(first, repeat, case.target.ignore) is not None:
        what, severity = ("replaced", DIFFERS) if repeat.succeeded else ("lost", LOST)
        case.fail(f"A request was repeated after others, and its answer was {what}.", severity)
    if sent < _OTHER_KEYS:
        case.note(
            f"An answer was repeated after {sent} other keys, not {_OTHER_KEYS}: half of the window of "
            f"{window:g} seconds had ended. A service that keeps few answers may be missed: make it longer."
        )


@check("repeats", *HEADERS)
def a_repeat_keeps_the_headers(case: HttpCase) -> None:
    """A repeated request gets the headers of the first answer, but those of one exchange."""
    request = case.request(case.make.new_key())
    first = case.first(request)
    repeat = case.until_decided(request)
    if not repeat.succeeded:
        raise NotJudged("the repeat did not succeed, which another check reports")
    missing = difference_of_headers(first, repeat)
    if missing is not None:
        case.fail(f"A request was repeated, and the answer differs: {missing}.", DIFFERS)


@check("repeats", *HEADERS)
def a_repeat_sets_no_cookie_again(case: HttpCase) -> None:
    """A repeated answer does not hand out the cookie of the first one again."""
    template = case.target.requests.get("cookie")
    request = case.request(case.make.new_key(), template=template)
    first = case.first(request)
    fresh = case.first(
        case.request(case.make.new_key(), template=template, unique=case.make.unique()), "client 2"
    )
    cookie = first.header("set-cookie")
    if cookie is None:
        raise NotOffered("the service sets no cookie")
    if cookie == fresh.header("set-cookie"):
        raise NotOffered("the service sets the same cookie for all requests")
    repeat = case.until_decided(request)
    case.require_once("A request whose answer sets a cookie was repeated", 2)
    if repeat.header("set-cookie") == cookie:
        case.fail(f"A stored answer handed out the cookie of the first one again: {cookie[:60]!r}.", LEAKED)


@check("repeats", *HEADERS)
def a_repeat_is_marked(case: HttpCase) -> None:
    """A repeated answer is marked as such, and the first one is not, if the profile requires it."""
    marker = case.expects.marker
    if marker is None:
        raise NotOffered(f"the profile {case.expects.name} requires no marker")
    request = case.request(case.make.new_key())
    first = case.first(request)
    repeat = case.until_decided(request)
    if repeat.header(marker) is None:
        case.fail(f"A repeated answer has no header {marker}, which the profile requires.", UNCLEAR)
    if first.header(marker) == repeat.header(marker):
        case.fail(f"The first answer has the header {marker}, as if it were a repeated one.", UNCLEAR)


@check("repeats", *HEADERS)
def a_repeat_fits_what_the_client_accepts(case: HttpCase) -> None:
    """A repeated answer is compressed only for a client that accepts that."""
    for before, after in (("gzip", "identity"), ("identity", "gzip")):
        case.begin()
        key = case.make.new_key()
        first = case.first(case.request(key, more=(("Accept-Encoding", before),)))
        repeat = case.until_decided(case.request(key, more=(("Accept-Encoding", after),)))
        if not repeat.succeeded:
            continue
        encoding = repeat.header("content-encoding") or "identity"
        plainly = decoded(repeat)
        if after == "identity" and encoding != "identity":
            case.fail(f"A client that accepts no compression got a stored answer with {encoding}.", DIFFERS)
        if plainly is None or (plainly.startswith(_GZIP_MAGIC) and decoded(first) != plainly):
            case.fail("The body of a stored answer does not have the Content-Encoding that it says.", DIFFERS)
        if not is_equal(first, repeat, case.target.ignore):
            case.fail(f"The answer for {after} differs from the first one, for {before}.", DIFFERS)


@check("repeats", *LARGE, needs=("large",))
def a_large_answer_is_repeated_whole(case: HttpCase) -> None:
    """A large answer is repeated whole, or refused as unavailable; its effect happens once."""
    request = case.request(case.make.new_key(), template=case.target.requests["large"])
    first = case.first(request)
    repeat = case.send(request)
    case.require_once("A request with a large answer was repeated", 1)
    if repeat.refused:
        case.note(f"A repeat of a large answer is refused with {repeat.status}.")
        return
    if repeat.failure is not None or difference(first, repeat, case.target.ignore) is not None:
        case.fail(
            f"A large answer of {len(first.body):,} bytes is repeated with {len(repeat.body):,} bytes.",
            DIFFERS if repeat.succeeded and len(repeat.body) >= len(first.body) else LOST,
        )


@check("repeats", *REPLAYED, needs=("stream",))
def a_stream_is_repeated_whole(case: HttpCase) -> None:
    """A streamed answer is repeated whole, also after the client has left in its midst."""
    template = case.target.requests["stream"]
    request = case.request(case.make.new_key(), template=template)
    whole = case.first(request)
    case.require_repeat(whole, case.until_decided(request), "A request with a streamed answer was repeated")
    case.begin()
    request = case.request(case.make.new_key(), template=template)
    with case.open() as link:
        link.send(request.head(case.service.place.authority) + request.payload())
        part = link.read(request.method, at_most=max(1, len(whole.body) // 4))
        link.close(reset=True)
    case.log("client 1", f"{case.described(request)} → {len(part.body)} bytes, then it closes the connection")
    repeat = case.until_decided(request)
    case.require_once("A stream was cut, and the request was repeated")
    if repeat.succeeded and len(content_of(repeat)) < len(content_of(whole)) // 2:
        case.fail("A stream was cut by its client, and the repeat got only a part of it.", LOST)


def content_of(answer: object) -> bytes:
    """Return the bytes of an answer."""
    return getattr(answer, "body", b"")


@check("repeats", *FINAL, needs=("redirect",))
def a_redirect_can_be_followed(case: HttpCase) -> None:
    """A client that follows a redirect with the same key gets an answer."""
    key = case.make.new_key()
    request = case.request(key, template=case.target.requests["redirect"])
    answer = case.send(request)
    location = answer.header("location")
    if answer.status not in _REDIRECTS or location is None:
        raise NotJudged(f"the request of the target is not redirected: {case.outcome(answer)}")
    path = followed_path(case.service.place.origin, request.path, location)
    if answer.status in (301, 302, 303):
        raise NotOffered("it redirects to a page that is read with GET")
    if answer.status not in case.expects.profile.released:
        raise NotOffered(f"the profile {case.expects.name} keeps a {answer.status}")
    followed = case.until_decided(request._replace(path=path))
    if followed.status in _REDIRECTS or followed.refused:
        case.fail(
            f"A client followed a {answer.status} with the same key, and got {followed.status}: the redirect "
            "occupies the key.",
            LOCKED_OUT,
        )
    repeat = case.until_decided(request._replace(path=path))
    case.require_repeat(followed, repeat, "A redirected request was repeated")


def followed_path(own: str, before: str, location: str) -> str:
    """Return the path that a Location names; raise :class:`NotJudged` unless it is on the same server.

    Parameters
    ----------
    own, before
        The origin and the path of the request that was redirected.
    location
        Where to.
    """
    try:
        origin, path = split(urljoin(own + before, location), "Location")
    except ValueError:
        raise NotJudged(f"its Location is no address that the judge can follow: {location!r}") from None
    if origin != own:
        raise NotJudged(f"it redirects to another host, {origin}, which the judge does not follow")
    return path


def compressed(body: bytes) -> bytes:
    """Return a body in gzip, the same for the same body."""
    return gzip.compress(body, mtime=0)
