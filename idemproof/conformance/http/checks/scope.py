"""Checks of whose key it is."""

from ...suite.checks import NotJudged
from ...suite.consequences import LEAKED, LOCKED_OUT, WRONG
from ..case import HttpCase
from ..checking import check
from ..target_file import split
from ..topics import AUTHORIZED, FINAL, ONCE, SCOPE

_UNAUTHORIZED = (401, 403)


@check("scope", *SCOPE, needs=("second",))
def another_client_gets_no_stored_answer(case: HttpCase) -> None:
    """Another client that uses the same key never gets the stored answer of the first one."""
    key = case.make.new_key()
    first = case.first(case.request(key))
    second = case.send(case.request(key, client=case.target.second), "client 2")
    replayed = case.is_replay(first, second)
    if replayed:
        case.fail("Another client used the same key, and got the stored answer of the first client.", LEAKED)
    if replayed is None:
        raise NotJudged(
            "all answers are equal, so an answer of another client cannot be recognized without a counter of "
            "effects"
        )
    if second.refused:
        case.note(
            f"A key of one client is refused for another one, with {second.status}: it learns that the key "
            "is used."
        )
    if case.target.other is not None:
        case.begin()
        key = case.make.new_key()
        first = case.first(case.request(key))
        other = case.request(key, client=case.target.second, template=case.target.other)
        answer = case.send(other, "client 2")
        if case.is_replay(first, answer):
            case.fail("Another client got the stored answer of the first client.", LEAKED)


@check("scope", *FINAL, needs=("invalid",))
def a_refused_credential_leaves_the_key_free(case: HttpCase) -> None:
    """A request that was refused for its credential can be sent again with a valid one."""
    key = case.make.new_key()
    refused = case.send(case.request(key, client=case.target.invalid))
    if refused.status not in _UNAUTHORIZED:
        raise NotJudged(f"the invalid credential was not refused: {case.outcome(refused)}")
    answer = case.until_decided(case.request(key))
    if not answer.succeeded:
        case.fail(
            f"A request was refused with {refused.status}, and its retry with a valid credential got "
            f"{answer.status or answer.failure}: the refusal occupies the key.",
            LOCKED_OUT,
        )
    case.require_once("A request was refused, and its retry had a valid credential")


@check("scope", *AUTHORIZED, needs=("invalid",))
def a_stored_answer_needs_a_credential(case: HttpCase) -> None:
    """A stored answer is never given to a request that is not authorized."""
    key = case.make.new_key()
    first = case.first(case.request(key))
    answer = case.send(case.request(key, client=case.target.invalid), "client 2")
    replayed = case.is_replay(first, answer)
    if answer.succeeded and not replayed:
        raise NotJudged("the service accepts the invalid credential, or its answers are all equal")
    if replayed:
        case.fail("A request with an invalid credential got the stored answer of a valid one.", LEAKED)


@check("scope", *SCOPE, *ONCE, needs=("rotated",))
def a_renewed_credential_keeps_the_key(case: HttpCase) -> None:
    """A client that has renewed its credential finds the answer to its key."""
    key = case.make.new_key()
    first = case.first(case.request(key))
    repeat = case.until_decided(case.request(key, client=case.target.rotated))
    case.require_repeat(first, repeat, "A request was repeated with a renewed credential")


@check("scope", *SCOPE, needs=("second_service",))
def another_service_gets_no_stored_answer(case: HttpCase) -> None:
    """A key at another service with the same store is another key."""
    address = case.target.second_service
    assert address is not None
    key = case.make.new_key()
    first = case.first(case.request(key))
    path = split(address, "second_service")[1]
    place = case.service.places["second_service"]
    answer = case.send(case.request(key, path=path), "client 2", place)
    if case.is_replay(first, answer, is_counted=False):
        case.fail("A key was used at another service, and got the stored answer of the first one.", WRONG)
