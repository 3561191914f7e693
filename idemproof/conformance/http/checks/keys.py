"""Checks of the header that carries the key."""

from ...suite.checks import NotOffered
from ...suite.consequences import DIFFERS, TWICE, UNPROTECTED, WRONG
from ..answers import difference
from ..case import HttpCase
from ..checking import check
from ..requests import quoted
from ..topics import KEY, KEY_REQUIRED, ONE_KEY, SCOPE

_MALFORMED_QUOTED = (
    "",
    '""',
    '"   "',
    '"open',
    'open"',
    '"a", "b"',
    '"a" "b"',
    '"a"b',
    '"caf\u00e9"',
    "?1",
    "17",
)
_MALFORMED_BARE = ("", "   ")
_LONG = (40, 65, 129, 255, 300, 700, 3000)


@check("keys", *KEY_REQUIRED)
def a_missing_key_is_refused(case: HttpCase) -> None:
    """A request without a key is refused, if the profile requires one for its method."""
    method = case.target.request.method
    if not case.expects.must_have_key(method):
        raise NotOffered(f"the profile {case.expects.name} does not require a key for {method}")
    answer = case.send(case.request(None))
    if answer.succeeded:
        case.fail("A request without a key ran, so its retry is not protected.", UNPROTECTED)
    if answer.refused and answer.status != 400:  # noqa: PLR2004
        case.note(f"A request without a key is refused with {answer.status}; the profile says 400.")


@check("keys", *ONE_KEY)
def a_malformed_key_is_refused(case: HttpCase) -> None:
    """A header that is no key is refused, or at least protects the request."""
    accepted = []
    for value in _MALFORMED_QUOTED if case.service.quoted else _MALFORMED_BARE:
        case.begin()
        request = case.request(None, lines=[value])
        if not case.send(request).succeeded:
            continue
        case.send(request)
        if not value.strip(' "') and not case.expects.must_have_key(request.method):
            case.note("A request with an empty key runs like one without a key.")
            continue
        case.require_once(f"The malformed key `{value}` was accepted, and the request was sent twice")
        accepted.append(value)
    if accepted:
        listed = ", ".join(f"`{value}`" for value in accepted)
        case.fail(f"Malformed keys are accepted: {listed}.", UNPROTECTED)


@check("keys", *KEY)
def long_keys_are_refused_or_differ(case: HttpCase) -> None:
    """Two long keys that differ in their last character are two keys, or are refused."""
    for length in _LONG:
        case.begin()
        key = (case.make.new_key() + "x" * length)[:length]
        one, other = case.request(key[:-1] + "a"), case.request(key[:-1] + "b")
        first = case.send(one)
        if not first.succeeded:
            continue
        second = case.send(other, "client 2")
        if case.is_replay(first, second):
            case.fail(
                f"Two keys of {length} characters that differ in the last one are treated as one key: the "
                "second "
                "operation did not run.",
                WRONG,
            )
        limit = case.expects.longest_key
        if length > limit:
            case.note(f"A key of {length} characters is accepted; the profile allows {limit}.")


@check("keys", *KEY)
def keys_differ_by_case(case: HttpCase) -> None:
    """Keys that differ only in upper and lower case are two keys."""
    if case.expects.key_pattern is not None:
        raise NotOffered("keys of this profile have a form in which case does not matter")
    key = case.make.new_key()
    first = case.first(case.request(key.lower()))
    second = case.send(case.request(key.upper()), "client 2")
    if case.is_replay(first, second):
        case.fail("Two keys that differ in case are treated as one key: the second did not run.", WRONG)


@check("keys", *KEY)
def quotes_make_no_second_key(case: HttpCase) -> None:
    """A key with quotes and without them is one key, or one of the forms is refused."""
    for forms in ((quoted, str), (str, quoted)):
        case.begin()
        key = case.make.new_key()
        requests = [case.request(None, lines=[form(key)]) for form in forms]
        answers = [case.send(each) for each in requests]
        if not all(each.succeeded for each in answers):
            continue
        case.require_once("A key was sent with quotes and without them")
        differs = difference(answers[0], answers[1], case.target.ignore)
        if differs is not None:
            case.fail(f"A key with quotes and without them gets two answers: {differs}.", DIFFERS)


@check("keys", *ONE_KEY)
def two_key_lines_are_refused(case: HttpCase) -> None:
    """A request with two lines of the header is refused, so that no proxy can choose the key."""
    one, other = case.make.new_key(), case.make.new_key()
    both = case.request(None, lines=[case.make.field(one), case.make.field(other)])
    first = case.send(both)
    if not first.succeeded:
        return
    case.send(case.request(other))
    number = case.effects()
    if number is not None and number > 1:
        case.fail(
            "A request with two keys ran, and a retry with the second key alone ran again: the second line "
            "is "
            f"ignored. The effect happened {number} times.",
            TWICE,
        )
    case.fail("A request with two keys ran. Its client cannot know which key protects it.", UNPROTECTED)


@check("keys", *KEY)
def parameters_make_no_second_key(case: HttpCase) -> None:
    """A key with a parameter is the same key as without it, or is refused."""
    if not case.service.quoted:
        raise NotOffered("keys of this service are not quoted, so they have no parameters")
    key = quoted(case.make.new_key())
    answers = [
        case.send(case.request(None, lines=[value])) for value in (f"{key};v=1", key, f"{key}; a; b=2")
    ]
    if sum(each.succeeded for each in answers) > 1:
        case.require_once("A key was sent with parameters and without them")


@check("keys", *KEY)
def escapes_belong_to_the_key(case: HttpCase) -> None:
    """Keys with escaped characters differ by the characters that they stand for, or are refused."""
    if not case.service.quoted:
        raise NotOffered("keys of this service are not quoted, so they have no escapes")
    key = case.make.new_key()
    one = case.request(None, lines=[f'"{key}\\"x"'])
    other = case.request(None, lines=[f'"{key}\\\\x"'])
    first = case.send(one)
    if not first.succeeded:
        return
    second = case.send(other, "client 2")
    if case.is_replay(first, second):
        case.fail("Two keys that differ in an escaped character are treated as one key.", WRONG)
    case.begin()
    case.first(one)
    case.send(one)
    case.require_once("A key with an escaped quote was sent twice")


@check("keys", *KEY)
def the_name_of_the_header_has_no_case(case: HttpCase) -> None:
    """The name of the header means the same in upper and lower case."""
    name = case.make.header
    request = case.request(case.make.new_key())
    first = case.first(request)
    for written in (name.lower(), name.upper()):
        headers = tuple((written if each == name else each, value) for each, value in request.headers)
        case.require_repeat(
            first,
            case.until_decided(request._replace(headers=headers)),
            f"A request was repeated with {written}",
        )


@check("keys", *SCOPE, *KEY)
def another_key_is_another_request(case: HttpCase) -> None:
    """The same request with another key runs again."""
    first = case.first(case.request(case.make.new_key()))
    second = case.send(case.request(case.make.new_key(), unique=case.make.unique()), "client 2")
    if case.is_replay(first, second):
        case.fail("A request with a new key got the stored answer of another key, and did not run.", WRONG)
