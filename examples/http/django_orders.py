"""A Django project in one file that sells cinema tickets to users who are logged in.

``python django_orders.py runserver`` serves it; with gunicorn, ``gunicorn django_orders:application``.
"""

import json
import os
import sys

from django.conf import settings

from idemproof import SQLitePersistenceLayer

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for this example"),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DJANGO_DB", "django.db")}
    },
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "idemproof.http.DjangoIdempotencyMiddleware",  # the last one
    ],
    IDEMPROOF={
        "persistence_store": SQLitePersistenceLayer(os.environ.get("DATABASE", "orders.db")),
        "scope": "idemproof.http.django_user",  # the user who is logged in
    },
)

from django.core.wsgi import get_wsgi_application  # noqa: E402 - after the settings
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402


def create_order(request: HttpRequest) -> JsonResponse:
    order = json.loads(request.body)
    print(f"charging {request.user} {12 * len(order['seats'])} euros")
    return JsonResponse({"seats": order["seats"], "receipt": f"receipt of {request.user}"}, status=201)


urlpatterns = [path("orders", create_order)]
application = get_wsgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
