"""DynamoDB by moto, run as a program: ``python moto_server.py PORT``.

moto's own server handles requests in threads, and its tables have no lock: two conditional writes at once may
both succeed. Here one request is handled at a time, so that each is atomic, as DynamoDB's are. A connection
stays open, as DynamoDB keeps it.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import EnvironBuilder, run_wsgi_app

APPLICATION = DomainDispatcherApplication(create_backend_app)
TURN = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Hands requests to moto, and its answers back."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_request(self) -> None:
        """Handle one request; what a slow client sends and reads is outside the lock."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = EnvironBuilder(
            self.path,
            method=self.command,
            headers=self.headers.items(),
            data=body,
            base_url="http://127.0.0.1",
        )
        with TURN:
            chunks, status, headers = run_wsgi_app(APPLICATION, request.get_environ(), buffered=True)
            answer = b"".join(chunks)
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            if name.lower() not in ("content-length", "status"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = handle_request  # noqa: N815 - the base class looks for these names

    def log_request(self, *_: object) -> None:
        """Say nothing of what went well."""


class QuickServer(ThreadingHTTPServer):
    """Takes many connections at once."""

    daemon_threads = True
    request_queue_size = 512


if __name__ == "__main__":
    QuickServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
