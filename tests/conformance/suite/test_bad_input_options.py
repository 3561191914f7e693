"""Invalid options are refused before anything runs."""

from collections.abc import Callable
from typing import Any

import pytest

from idemproof import InMemoryPersistenceLayer
from idemproof.conformance import Capabilities, FactoryError, Profile, check

TINY = Profile("tiny", 2, 5, 5, 1, 0.2, 0.2, 1, 60)
TIERS = "There are: contract, time, exclusion, fencing, faults, concurrency, durability."


def never_called() -> Any:
    raise AssertionError("something ran")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"profile": "slow"}, "There is no profile 'slow'. There are: quick, default, thorough."),
        ({"profile": None}, "The profile must be one of quick, default, thorough, or a Profile, not None."),
        (
            {"profile": TINY._replace(patience=0)},
            "The profile's patience must be a number of seconds above 0",
        ),
        (
            {"profile": TINY._replace(examples="9")},
            "The profile's examples must be a whole number above 0, not",
        ),
        (
            {"profile": TINY._replace(depth=-1)},
            "The profile's depth must be a whole number, 0 or more, not -1.",
        ),
        ({"profile": TINY._replace(total_seconds=0)}, "total_seconds must be a number of seconds above 0"),
        ({"profile": TINY._replace(tour_seconds=-1)}, "tour_seconds must be a number of seconds, 0 or more"),
        ({"tiers": ["speed"]}, f"There is no tier 'speed'. {TIERS}"),
        ({"tiers": []}, f"The list of tiers is empty. {TIERS}"),
        ({"tiers": "contract"}, f"The tiers must be a list of names, not 'contract'. {TIERS}"),
        ({"tiers": None}, f"The tiers must be a list of names, not None. {TIERS}"),
        ({"seed": "a"}, "The seed must be a whole number, or None for a random one, not 'a'."),
        ({"seed": True}, "The seed must be a whole number, or None for a random one, not True."),
        ({"capabilities": {"fenced": False}}, "The capabilities must be a Capabilities(…), not {'fenced'"),
        ({"progress": "bar"}, "The progress must be a function of three arguments, or None, not 'bar'."),
    ],
)
def test_invalid_options_are_refused_before_anything_runs(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        check(never_called, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"largest_response": -1}, "The claim largest_response must be a whole number above 0, not -1."),
        ({"largest_response": 0}, "The claim largest_response must be a whole number above 0, not 0."),
        ({"largest_response": "9"}, "The claim largest_response must be a whole number above 0, not '9'."),
        ({"largest_response": True}, "The claim largest_response must be a whole number above 0, not True."),
        ({"fenced": "no"}, "The claim fenced must be True, False or None, not 'no'."),
        ({"durable": 1}, "The claim durable must be True or False, not 1."),
        ({"client_methods": "get"}, "The claim client_methods must be a tuple of paths such as"),
        ({"client_methods": ("a..b",)}, "The claim client_methods must be a tuple of paths such as"),
    ],
)
def test_what_no_layer_can_claim_is_refused(claims: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        Capabilities(**claims)
    assert said in str(caught.value)


def test_an_unknown_tier_is_not_simply_not_kept() -> None:
    report = check(InMemoryPersistenceLayer, profile=TINY, tiers=["contract"])
    assert report.keeps("contract")
    assert not report.keeps("fencing")
    with pytest.raises(ValueError, match="There is no tier 'fencng'"):
        report.keeps("fencng")


class WithClient(InMemoryPersistenceLayer):
    """Has something that could be a client."""

    rows = 3

    def __init__(self) -> None:
        super().__init__()
        self.client = self

    def get(self) -> None: ...


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("client.gte", "client_methods names 'client.gte', which WithClient does not have: "),
        ("pool.get", "client_methods names 'pool.get', which WithClient does not have: "),
        (
            "client.rows",
            "client_methods names 'client.rows' of WithClient, which is no method: its type is int.",
        ),
    ],
)
def test_methods_of_the_client_are_looked_for_whatever_is_judged(path: str, said: str) -> None:
    begun: list[object] = []
    progress: Callable[..., None] = begun.append
    with pytest.raises(FactoryError) as caught:
        check(
            WithClient,
            profile=TINY,
            tiers=["contract"],
            capabilities=Capabilities(client_methods=(path,)),
            progress=progress,
        )
    assert said in str(caught.value)
    assert not begun
    right = Capabilities(client_methods=("client.get",))
    assert check(WithClient, profile=TINY, tiers=["contract"], capabilities=right).keeps("contract")
