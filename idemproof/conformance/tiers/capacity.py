"""The contract tier: a layer keeps a record however many others it stores."""

from ..harness import requests
from ..suite.checks import Case, check
from .contract import claim_of

_MANY = 300
"""More records than a cache of a usual size holds."""


@check("contract", "CAS-6", "INV-7")
def a_record_stands_however_many_others_do(case: Case) -> None:
    """A layer that stores hundreds of live claims evicts none of them."""
    claims = [claim_of(case, case.new_key()) for _ in range(_MANY)]
    for claim in claims:
        requests.put(case, case.layer, claim)
    case.histories += 1
    lost = [claim for claim in claims if requests.get(case.workers[-1], claim[0]).how != "done"]
    if lost:
        trace = case.trace(lost[0].idempotency_key)
        trace.tell("client 1", f"has put {_MANY} live claims with different keys, including this one")
        case.fail(f"Of {_MANY} live claims that were put, {len(lost)} are gone.", trace)
