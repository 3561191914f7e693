"""A whole project of Django, with the middleware: what the views raise, and their transactions."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, SQLitePersistenceLayer, current_attempt
from idemproof.errors import IdempotencySerializationError
from idemproof.http import Response

pytestmark = pytest.mark.once

HEADERS = {"Authorization": "Bearer ada", "Idempotency-Key": '"k"'}

if not settings.configured:
    settings.configure()


class Project:
    """The views of the project: they do what the test says, and count their runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.view: Callable[[], HttpResponse] = HttpResponse
        self.asynchronous = False
        self.urlpatterns = [path("order", self._order), path("async-order", self._async_order)]

    def _order(self, _: HttpRequest) -> HttpResponse:
        self.runs += 1
        return self.view()

    async def _async_order(self, _: HttpRequest) -> HttpResponse:
        self.runs += 1
        return self.view()

    def post(self, where: str = "/order") -> Any:
        if not self.asynchronous:
            return Client(raise_request_exception=False).post(where, headers=HEADERS)
        return asyncio.run(AsyncClient(raise_request_exception=False).post(where, headers=HEADERS))  # type: ignore[arg-type]  # a coroutine


@pytest.fixture
def project() -> Project:
    return Project()


@pytest.fixture
def served(project: Project) -> Iterator[Callable[..., None]]:
    """Serve the project with these parameters of the middleware."""
    changes: list[Any] = []

    def serve(**options: Any) -> None:
        options.setdefault("persistence_store", InMemoryPersistenceLayer())
        change = override_settings(
            IDEMPROOF=options,
            ROOT_URLCONF=project,
            ALLOWED_HOSTS=["testserver"],
            MIDDLEWARE=["idemproof.http.DjangoIdempotencyMiddleware"],
        )
        change.enable()
        changes.append(change)

    yield serve
    for change in changes:
        change.disable()


CALLS = [(False, "/order"), (False, "/async-order"), (True, "/order"), (True, "/async-order")]


def boom() -> HttpResponse:
    raise ZeroDivisionError


@pytest.mark.clause("HTTP-19")
@pytest.mark.parametrize(("asynchronous", "where"), CALLS)
def test_an_exception_of_a_view_parks_the_key(
    project: Project, served: Any, asynchronous: bool, where: str
) -> None:
    served()
    project.asynchronous, project.view = asynchronous, boom
    first, again = project.post(where), project.post(where)
    assert (first.status_code, first["Content-Type"]) == (500, "text/html; charset=utf-8")
    assert (again.status_code, again.json()["type"]) == (409, "urn:idemproof:http:unknown-outcome")
    assert project.runs == 1


@pytest.mark.parametrize(("asynchronous", "where"), CALLS)
def test_an_exception_that_means_that_nothing_happened_frees_the_key(
    project: Project, served: Any, asynchronous: bool, where: str
) -> None:
    served(config=IdempotencyConfig(released_errors=(ZeroDivisionError,)))
    project.asynchronous, project.view = asynchronous, boom
    assert [project.post(where).status_code for _ in range(2)] == [500, 500]
    assert project.runs == 2


@pytest.mark.parametrize(("error", "status"), [(Http404, 404), (PermissionDenied, 403)])
def test_an_exception_that_django_answers_is_an_answer(
    project: Project, served: Any, error: type[Exception], status: int
) -> None:
    def refuse() -> HttpResponse:
        raise error

    served()
    project.view = refuse
    first, again = project.post(), project.post()
    assert (first.status_code, again.status_code, project.runs) == (status, status, 1)
    assert again["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("status", [201, 503])
def test_a_view_completes_in_its_own_transaction(
    project: Project, served: Any, tmp_path: Path, status: int
) -> None:
    """Even if the worker is lost, or answers with an error, after the commit."""
    file = tmp_path / "orders.db"
    served(persistence_store=SQLitePersistenceLayer(file))

    def order() -> HttpResponse:
        connection = sqlite3.connect(file, isolation_level=None)
        try:
            connection.execute("CREATE TABLE orders (number)")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO orders VALUES (1)")
            current_attempt().complete(
                Response(201, ((b"content-type", b"application/json"),), b'{"order": 1}'), within=connection
            )
            connection.execute("COMMIT")
        finally:
            connection.close()
        return JsonResponse({"order": 1}, status=status)

    project.view = order
    first, again = project.post(), project.post()
    assert (first.status_code, first.content) == (status, b'{"order": 1}')
    assert (again.status_code, again.content, project.runs) == (201, b'{"order": 1}', 1)
    assert again["Idempotency-Replayed"] == "true"


def test_only_a_response_completes_a_request(project: Project, served: Any, tmp_path: Path) -> None:
    file = tmp_path / "orders.db"
    served(persistence_store=SQLitePersistenceLayer(file))
    found: list[Exception] = []

    def order() -> HttpResponse:
        connection = sqlite3.connect(file, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(
                IdempotencySerializationError, match=r"Response of idemproof\.http"
            ) as refused:
                current_attempt().complete(JsonResponse({}), within=connection)
            connection.execute("ROLLBACK")
        finally:
            connection.close()
        found.append(refused.value)
        return JsonResponse({})

    project.view = order
    assert [project.post().status_code for _ in range(2)] == [200, 200]
    assert (project.runs, len(found)) == (1, 1)
