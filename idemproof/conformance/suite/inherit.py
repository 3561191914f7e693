"""The suite as a base class for pytest tests."""

import difflib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from .capabilities import Capabilities, claims
from .checks import TIERS, Check
from .factories import FactoryError
from .options import profile_named, refuse_expectations_without_reasons, seed_given
from .profiles import Profile
from .report import CheckResult, Finding
from .runner import Session, checks
from .trace_table import plain
from .wording import clause_text, clean, groups_of

_WITHOUT_LAYER = "make_layer is missing"
_SESSION = pytest.StashKey["_Judge"]()
_WIDTH = 96
_SETTINGS = ("profile", "seed", "tiers", "expected_failures")
_ALIKE = 0.7


class PersistenceLayerConformance:
    """Tests of a persistence layer, one for each check of the suite.

    Inherit from this class, under a name that pytest collects, and define how to make a layer::

        from idemproof.conformance import PersistenceLayerConformance

        class TestMyLayer(PersistenceLayerConformance):
            durable = True

            def make_layer(self):
                return MyLayer("somewhere")

    The id of each test contains the name of its check and the clauses that it covers, so that
    ``pytest -k CAS-4`` tests one clause. A check of something that the layer does not claim is skipped, with
    the reason. A check that could not be judged fails.
    The first test that runs makes the layers for the whole class. What ``make_layer`` uses must last for all
    tests of the class: use fixtures with the scope ``class`` or wider.

    """

    profile: ClassVar[str | Profile] = "default"
    """``quick``, ``default`` or ``thorough``; or your own bounds."""

    seed: ClassVar[int | None] = 0
    """The seed of all random choices. If it is None, a random seed is used; a failure shows it."""

    tiers: ClassVar[Sequence[str]] = TIERS
    """The tiers to test."""

    expected_failures: ClassVar[Mapping[str, str]] = {}
    """The known failures: a check name or a clause id, with the reason. They are reported as xfail. It is an
    error if nothing breaks an expected clause or check, or if there is no such check or clause."""

    def make_layer(self) -> Any:
        """Return a new layer, or a pair of layers over one store; it may be ``async``."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Generate a test for each check, and for each expected failure."""
        if "asked" not in metafunc.fixturenames:
            return
        try:
            _refuse_what_means_nothing(type(self))
            asked: list[Check | str] = [*checks(self.tiers), *self.expected_failures]
        except ValueError as refusal:
            pytest.fail(f"{type(self).__name__}: {refusal}", pytrace=False)
        if type(self).make_layer is PersistenceLayerConformance.make_layer:
            metafunc.parametrize("asked", [None], ids=[_WITHOUT_LAYER])
            return
        metafunc.parametrize("asked", asked, ids=[_name_of(each) for each in asked])

    def test_protocol(self, asked: "Check | str | None", request: pytest.FixtureRequest) -> None:
        """Run one check, or require that an expected failure still happens."""
        if asked is None:
            pytest.fail(
                f"{type(self).__name__} has no layer to test: define make_layer(self), which returns a "
                "persistence layer, or a pair of layers over one store.",
                pytrace=False,
            )
        judge = _judge_of(self, request)
        if isinstance(asked, str):
            judge.expect(asked, request.node.name)
        else:
            judge.ask(asked, request.node.name)


for _claim in claims():
    setattr(PersistenceLayerConformance, _claim.name, _claim.default)
if PersistenceLayerConformance.__doc__ is not None:
    PersistenceLayerConformance.__doc__ += "Attributes\n    ----------\n" + "".join(
        f"    {each.name}\n        {each.says} The default is {each.default}.\n" for each in claims()
    )


def _refuse_what_means_nothing(tests: type[PersistenceLayerConformance]) -> None:
    """Raise ``ValueError`` for settings of the wrong type, and for names that look like misspelt settings."""
    for kind in tests.__mro__:
        if kind in PersistenceLayerConformance.__mro__:
            continue
        for name, value in vars(kind).items():
            if not name.startswith("_") and not hasattr(PersistenceLayerConformance, name):
                _refuse_misspelling(name, value)
    profile_named(tests.profile)
    seed_given(tests.seed)
    refuse_expectations_without_reasons(tests.expected_failures)
    _claimed(tests)


def _refuse_misspelling(name: str, value: object) -> None:
    known = [*(each.name for each in claims()), *_SETTINGS]
    near = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    # Most claims are booleans; the attributes that test classes add rarely are.
    if callable(value) or isinstance(value, property | staticmethod | classmethod):
        return
    if near or isinstance(value, bool):
        meant = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(
            f"{name} is neither a claim nor a setting{meant} The claims are "
            f"{', '.join(each.name for each in claims())}; the settings are {', '.join(_SETTINGS)}. "
            f"If it is your own attribute, begin its name with an underscore."
        )


def _claimed(tests: "type[PersistenceLayerConformance] | PersistenceLayerConformance") -> Capabilities:
    return Capabilities(**{each.name: getattr(tests, each.name) for each in claims()})


def _name_of(asked: Check | str) -> str:
    if isinstance(asked, str):
        return f"expected failure: {asked}"
    return f"{asked.tier}: {asked.name} ({', '.join(asked.clauses)})"


def _judge_of(test: PersistenceLayerConformance, request: pytest.FixtureRequest) -> "_Judge":
    """Return the judge of the test's class. The first test makes it, and pytest closes it after the last."""
    owner = request.node.getparent(pytest.Class)
    assert owner is not None
    judge: _Judge | None = owner.stash.get(_SESSION, None)
    if judge is None:
        judge = owner.stash[_SESSION] = _Judge(test, _wanted(owner, request))
        owner.addfinalizer(judge.close)
    return judge


def _wanted(owner: pytest.Class, request: pytest.FixtureRequest) -> list[Check]:
    """Return the checks that pytest will run for a class."""
    own = (each for each in request.session.items if each.getparent(pytest.Class) is owner)
    asked = (
        each.callspec.params.get("asked")
        for each in own
        if isinstance(each, pytest.Function) and hasattr(each, "callspec")
    )
    return [each for each in asked if isinstance(each, Check)]


class _Judge:
    """Runs the checks for one class of tests, and keeps their results."""

    def __init__(self, test: PersistenceLayerConformance, wanted: Sequence[Check]) -> None:
        self._expected = test.expected_failures
        self._refusal = ""
        self._refused: str | None = None
        """The test that reports why there is no layer; the others refer to it."""
        self._session: Session | None = None
        self._results: dict[str, CheckResult] = {}
        self._tiers = test.tiers
        seed = secrets.randbelow(2**32) if test.seed is None else test.seed
        try:
            profile = profile_named(test.profile)
            self._session = Session(test.make_layer, profile, seed, _claimed(test), wanted)
        except FactoryError as refusal:
            self._refusal = str(refusal)

    def close(self) -> None:
        aborted = None if self._session is None else self._session.close()
        if aborted is not None:
            pytest.fail(aborted, pytrace=False)

    def ask(self, asked: Check, test: str) -> None:
        self._require_layers(test)
        result = self._result(asked)
        if result.verdict == "not offered":
            pytest.skip(f"not offered: {result.why_not}")
        if result.verdict == "not run":
            pytest.skip(f"not run: {result.why_not}")
        if result.verdict == "not judged":
            pytest.fail(f"not judged: {result.why_not}", pytrace=False)
        if not result.findings:
            return
        reasons = [self._reason(asked, finding) for finding in result.findings]
        if None not in reasons:
            pytest.xfail("; ".join(dict.fromkeys(str(reason) for reason in reasons)))
        pytest.fail(self._reported(result), pytrace=False)

    def expect(self, name: str, test: str) -> None:
        self._require_layers(test)
        known = checks(self._tiers)
        named = [each for each in known if name == each.name or name in each.clauses]
        if not named:
            pytest.fail(
                f"expected_failures names {name!r}, which is neither a check nor a clause of one.",
                pytrace=False,
            )
        # A finding may name other clauses than its check does.
        others = [each for each in known if each not in named]
        if not any(self._breaks(each, name) for each in (*named, *others)):
            if any(self._result(each).verdict == "not run" for each in named):
                pytest.skip("not run: the time of the profile was not enough for a check that may break it")
            pytest.fail(
                f"{name} is expected to fail ({self._expected[name]}), but no check that ran "
                "breaks it. Remove it from expected_failures.",
                pytrace=False,
            )

    def _require_layers(self, test: str) -> None:
        """Fail if there are no layers: the first test reports why, the others name that test."""
        if self._session is not None:
            return
        self._refused = self._refused or test
        if test == self._refused:
            pytest.fail(self._refusal, pytrace=False)
        pytest.fail(f"There is no layer to test: {self._refused} reports why.", pytrace=False)

    def _breaks(self, asked: Check, name: str) -> bool:
        findings = self._result(asked).findings
        return any(name == asked.name or name in finding.clauses for finding in findings)

    def _reason(self, asked: Check, finding: Finding) -> str | None:
        """Return why a finding was expected, or None if it was not."""
        names = (asked.name, *finding.clauses)
        return next((self._expected[name] for name in names if name in self._expected), None)

    def _result(self, asked: Check) -> CheckResult:
        assert self._session is not None
        if asked.name not in self._results:
            self._results[asked.name] = self._session.judge(asked)
        return self._results[asked.name]

    def _reported(self, result: CheckResult) -> str:
        return "\n".join(self._lines(result))

    def _lines(self, result: CheckResult) -> Iterator[str]:
        assert self._session is not None
        yield f"{self._session.subject} breaks {', '.join(result.clauses)}."
        for group in groups_of(result.findings):
            yield ""
            yield group.why
            if group.lines:
                yield plain(group.lines, _WIDTH)
            for name in group.clauses:
                yield f"{name}: {clause_text(name)}"
            for fault in group.seen_in:
                yield f"Seen in: {fault}"
            if group.others:
                yield f"{group.others} more findings of this check are not shown."
        yield ""
        yield f"The check requires: {result.asks}"
        yield f"Tested with the profile {self._session.profile.name} and the seed {self._session.seed}."
        for note in self._session.notes:
            yield clean(note)
