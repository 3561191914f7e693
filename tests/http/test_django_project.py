"""A whole project of Django, with the middleware: what the views raise."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer

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
