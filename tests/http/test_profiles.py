"""The profiles: each does what it says, and answers each open question by clauses that exist."""

import json
import re
from typing import Any

import pytest

from asgi_calls import Counted, Reply, call
from idemproof import InMemoryPersistenceLayer
from idemproof.conformance.clauses import clauses_of, protocol_text
from idemproof.http import ACP, ICEBERG, IETF, PROFILES, STRIPE, IdempotencyMiddleware, Profile
from idemproof.reference.http.profiles import QUESTIONS
from pages import DOCS

pytestmark = pytest.mark.once

UUID7 = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
KEYS = {"ietf": f'"{UUID7}"'}
JSON = [("content-type", "application/json")]


class Api:
    """A protected application with the rules of a profile."""

    def __init__(self, profile: Profile, status: int = 201) -> None:
        self.app = Counted(status)
        self.key = KEYS.get(profile.name, UUID7)
        self.middleware: Any = IdempotencyMiddleware(
            self.app, persistence_store=InMemoryPersistenceLayer(), profile=profile
        )

    def post(self, body: bytes = b'{"a":1}', **options: Any) -> Reply:
        return call(self.middleware, body, **{"key": self.key, "headers": JSON, **options})


each = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


@each
def test_each_question_of_the_draft_is_answered_by_clauses_of_the_protocol(profile: Profile) -> None:
    assert list(profile.answers) == list(QUESTIONS)
    clauses = clauses_of(protocol_text())
    for answer in profile.answers.values():
        assert answer.says.endswith(".")
        assert answer.does.endswith(".")
        assert answer.clauses
        assert set(answer.clauses) <= set(clauses)


def test_the_questions_are_the_pages_and_their_headings() -> None:
    folder = DOCS / "explanation" / "open-questions"
    pages = {
        page.stem: page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        for page in folder.glob("*.md")
        if page.stem != "README"
    }
    assert dict(QUESTIONS) == pages


@each
def test_the_page_has_each_answer(profile: Profile) -> None:
    page = (DOCS / "reference" / "http-profiles.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {profile.title}\n")[2].partition("\n## ")[0]
    for name, answer in profile.answers.items():
        question = f"[{QUESTIONS[name]}](../explanation/open-questions/{name}.md)"
        cells = question, answer.says, answer.does, ", ".join(answer.clauses)
        assert f"| {' | '.join(cells)} |\n" in section
    assert profile.source in section
    assert profile.version in section


@each
@pytest.mark.clause("HTTP-22", "HTTP-25")
def test_a_replay_and_a_mismatch_have_their_published_form(profile: Profile) -> None:
    api = Api(profile)
    first, repeat, other = api.post(), api.post(), api.post(b'{"a":2}')
    assert (first.status, first.body) == (repeat.status, repeat.body)
    assert api.app.runs == 1
    if profile.marker is not None:
        name, value = profile.marker
        assert (first.header(name.lower()), repeat.header(name.lower())) == (None, value)
    echo = api.key if profile.echoes_key else None
    assert [reply.header("idempotency-key") for reply in (first, repeat, other)] == [echo] * 3
    assert other.status == profile.errors.statuses.get("payload-mismatch", 422)
    assert other.header("content-type") == profile.errors.media_type
    shape = json.loads(other.body)
    assert set(shape) == set(profile.errors.template)


def test_refusals_name_their_published_codes() -> None:
    def of(reply: Reply) -> Any:
        return json.loads(reply.body)

    api = Api(ACP)
    missing = api.post(key=None)
    assert (missing.status, of(missing)["type"], of(missing)["code"]) == (
        400,
        "invalid_request",
        "idempotency_key_required",
    )
    api.post()
    assert of(api.post(b"[]"))["code"] == "idempotency_conflict"
    api = Api(STRIPE)
    api.post()
    mismatch = api.post(b"[]")
    assert (mismatch.status, of(mismatch)["error"]["type"]) == (400, "idempotency_error")
    api = Api(ICEBERG)
    assert of(api.post(key="k"))["error"]["code"] == 400


@each
@pytest.mark.clause("HTTP-21")
def test_a_500_is_final_where_it_is_published_so(profile: Profile) -> None:
    api = Api(profile, 500)
    assert [api.post().body for _ in range(2)] == (
        [b"run 1", b"run 1"] if profile is STRIPE else [b"run 1", b"run 2"]
    )


@pytest.mark.clause("HTTP-8")
def test_a_key_is_required_where_it_is_published_so() -> None:
    expected = {"ietf": 400, "stripe": 201, "acp": 400, "iceberg": 201}
    assert {name: Api(profile).post(key=None).status for name, profile in PROFILES.items()} == expected
    expected = {"ietf": 2, "stripe": 2, "acp": 2, "iceberg": 1}
    for name, profile in PROFILES.items():
        api = Api(profile)
        for _ in range(2):
            api.post(method="DELETE", key=None)
        assert api.app.runs == 2
        api = Api(profile)
        for _ in range(2):
            api.post(method="DELETE")
        assert api.app.runs == (1 if name in ("ietf", "iceberg") else 2)


@pytest.mark.clause("HTTP-1", "HTTP-10")
def test_another_path_is_another_key_or_refused() -> None:
    for profile in PROFILES.values():
        api = Api(profile)
        api.post()
        status = api.post(path="/refunds").status
        assert status == (201 if profile is ACP else 400 if profile is STRIPE else 422)


@pytest.mark.clause("HTTP-11")
def test_numbers_are_equal_by_value_where_it_is_published_so() -> None:
    for profile in PROFILES.values():
        api = Api(profile)
        api.post(b'{"a":1,"b":2}')
        assert api.post(b'{ "b":2, "a":1 }').replayed or profile.marker != IETF.marker
        assert api.app.runs == 1
        api.post(b'{"b":2,"a":1.0}')
        assert api.post(b'{"b":2,"a":1.0}').status == (
            201 if profile is ACP else 400 if profile is STRIPE else 422
        )
        assert api.post(b'{"a":1,"b":2,"c":null}').status != 201


@pytest.mark.clause("HTTP-7")
def test_iceberg_needs_a_uuid_of_version_7() -> None:
    api = Api(ICEBERG)
    for key in ("k", UUID7.replace("-7", "-4"), UUID7 + "0", UUID7.replace("-", "")):
        assert api.post(key=key).status == 400
    assert api.app.runs == 0
    assert api.post(key=UUID7.upper()).status == 201


def test_clauses_in_profiles_are_written_as_clauses() -> None:
    for profile in PROFILES.values():
        for answer in profile.answers.values():
            assert all(re.fullmatch(r"[A-Z]+-\d+", clause) for clause in answer.clauses)
