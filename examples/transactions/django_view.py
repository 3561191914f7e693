"""A Django view that books a seat, with `ATOMIC_REQUESTS`: the booking and its record are committed together.

Run it with `python django_view.py runserver --noreload`, and send it `POST /bookings/A7` with the header
`Idempotency-Key`. A repeated request gets the stored answer and books nothing.
"""

import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.urls import path

from idemproof import IdempotencyConfig, SQLitePersistenceLayer, current_attempt, idempotent_function

FILE = Path(os.environ.get("DATABASE", "bookings.db")).absolute()
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(FILE), "ATOMIC_REQUESTS": True}
    },
)
django.setup()

# With PostgreSQL: PostgresPersistenceLayer. With MySQL or MariaDB: SQLAlchemyPersistenceLayer.
store = SQLitePersistenceLayer(FILE, table="idempotency")
# The lease is short: if the view raises, the key stays in progress until its lease ends.
config = IdempotencyConfig(in_progress_expires_after_seconds=10)


@idempotent_function(data_keyword_argument="request", persistence_store=store, config=config)
def book(request: dict) -> dict:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO bookings (seat) VALUES (%s)", [request["seat"]])
    # The transaction is that of the HTTP request. Django commits it after the view has answered.
    return current_attempt().complete({"booked": request["seat"]}, within=connection)


def create_booking(request: HttpRequest, seat: str) -> JsonResponse:
    key = request.headers.get("Idempotency-Key")
    if not key:
        return JsonResponse({"detail": "This operation needs the header Idempotency-Key."}, status=400)
    return JsonResponse(book(request={"key": key, "seat": seat}), status=201)


urlpatterns = [path("bookings/<str:seat>", create_booking)]


def create_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS bookings (seat TEXT PRIMARY KEY)")


if __name__ == "__main__":
    create_tables()
    execute_from_command_line(sys.argv)
