"""Checks of bodies that are forms, or compressed."""

from ...suite.consequences import WRONG
from ..case import HttpCase
from ..checking import check
from ..topics import FORM, ONCE
from .repeats import compressed


@check("payloads", *FORM, needs=("multipart",))
def a_new_boundary_is_not_run_again(case: HttpCase) -> None:
    """A form with a new boundary gets the first answer or a refusal, and runs nothing."""
    template = case.target.requests["multipart"]
    key = case.make.new_key()
    case.first(case.request(key, template=template))
    case.send(case.request(key, template=template))
    case.require_once("A form was sent again with a new boundary")
    parts = {name: f"{value}-other" for name, value in (template.parts or {}).items()}
    case.begin()
    key = case.make.new_key()
    first = case.first(case.request(key, template=template))
    second = case.send(case.request(key, template=template._replace(parts=parts)))
    if case.is_replay(first, second) and template.parts:
        case.fail("A form with other fields got the stored answer to the first one.", WRONG)


@check("payloads", *ONCE)
def a_chunked_body_is_not_run_again(case: HttpCase) -> None:
    """A body that is sent with its length, and then in chunks, has one effect."""
    request = case.request(case.make.new_key())
    case.first(request)
    case.send(request._replace(chunked=True))
    case.require_once("A body was sent with its length, and then in chunks")


@check("payloads", *ONCE)
def a_compressed_body_is_not_run_again(case: HttpCase) -> None:
    """A body that is sent compressed, and then as it is, has one effect."""
    key = case.make.new_key()
    request = case.request(key)
    body = compressed(request.body)
    packed = case.request(key, body=body, more=(("Content-Encoding", "gzip"),))
    first = case.send(packed)
    if not first.succeeded:
        return  # the service reads no compressed bodies
    case.send(request)
    case.require_once("A body was sent compressed, and then as it is")
