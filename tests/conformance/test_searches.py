"""The searches whose counts ``docs/searches.md`` gives."""

import pytest

from idemproof.conformance.search.engine_explorer import search_engine
from idemproof.spec.explorer import Explorer
from searches_page import lines_of

pytestmark = pytest.mark.once


@pytest.mark.clause("INV-1", "INV-2", "INV-3", "INV-4", "INV-5", "INV-6", "INV-7", "INV-9")
@pytest.mark.clause("DUR-1")
@pytest.mark.parametrize(
    ("clients", "payload_hashes", "late", "invocations", "states", "edges"),
    lines_of("The transition function"),
)
def test_no_invariant_breaks_and_every_client_can_finish(
    clients: int, payload_hashes: int, late: int, invocations: int, states: int, edges: int
) -> None:
    result = Explorer(clients, payload_hashes, late_requests=late, invocations=invocations).search()
    assert (result.counterexample, result.stuck, result.complete) == (None, None, True)
    assert (result.states, result.edges) == (states, edges)


@pytest.mark.clause("INV-1", "INV-3", "INV-5", "INV-8", "ENG-3", "ENG-6", "ENG-10", "ENG-12", "ENG-15")
@pytest.mark.clause("REN-1", "REN-2", "REN-3", "REN-4", "REN-5")
@pytest.mark.parametrize(
    (
        *("clients", "faults", "deaths", "interrupts", "outages"),
        *("calls", "seconds", "payloads", "cached", "renews", "states", "edges"),
    ),
    lines_of("The production engine"),
)
def test_no_rule_breaks_in_the_engine(
    clients: int,
    faults: int,
    deaths: int,
    interrupts: int,
    outages: int,
    calls: int | None,
    seconds: int | None,
    payloads: int,
    cached: bool,
    renews: bool,
    states: int,
    edges: int,
) -> None:
    result = search_engine(
        clients,
        faults,
        deaths,
        cached,
        calls=calls,
        ticks=seconds,
        payloads=payloads,
        interrupts=interrupts,
        outages=outages,
        renews=renews,
    )
    assert (result.counterexample, result.complete) == (None, True)
    assert (result.states, result.edges) == (states, edges)


@pytest.mark.clause("INV-10", "TAKE-2", "TAKE-4", "INV-9")
@pytest.mark.parametrize(
    ("policy", "clients", "payload_hashes", "late", "states", "edges"),
    lines_of("Takeovers in the transition function"),
)
def test_no_effect_happens_twice(
    policy: str, clients: int, payload_hashes: int, late: int, states: int, edges: int
) -> None:
    result = Explorer(clients, payload_hashes, late_requests=late, policy=policy).search()
    assert (result.counterexample, result.stuck, result.complete) == (None, None, True)
    assert (result.states, result.edges) == (states, edges)


@pytest.mark.clause("INV-10", "TAKE-3", "TAKE-4", "TAKE-5", "TAKE-6")
@pytest.mark.parametrize(
    ("policy", "clients", "faults", "deaths", "interrupts", "calls", "seconds", "states", "edges"),
    lines_of("Takeovers in the production engine"),
)
def test_no_effect_happens_twice_in_the_engine(
    policy: str,
    clients: int,
    faults: int,
    deaths: int,
    interrupts: int,
    calls: int,
    seconds: int,
    states: int,
    edges: int,
) -> None:
    result = search_engine(
        clients, faults, deaths, calls=calls, ticks=seconds, interrupts=interrupts, policy=policy
    )
    assert (result.counterexample, result.complete) == (None, True)
    assert (result.states, result.edges) == (states, edges)
