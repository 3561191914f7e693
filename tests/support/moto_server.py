"""moto's DynamoDB as a program: ``python moto_server.py PORT``.

moto's own server handles requests in threads without locks, so two conditional writes at the same time may
both succeed. This one handles one request at a time, so that each is atomic, as in DynamoDB. A connection
stays open, as in DynamoDB.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.test import EnvironBuilder, run_wsgi_app

# Of one service: to find the service of each request would take a sixth of the time.
APPLICATION = create_backend_app("dynamodb")
TURN = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Forwards requests to moto, and returns its replies."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_request(self) -> None:
        """Handle one request. Reading from and writing to a slow client happen outside the lock."""
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
        """Log nothing for successful requests."""


class QuickServer(ThreadingHTTPServer):
    """Accepts many connections at the same time."""

    daemon_threads = True
    request_queue_size = 512


if __name__ == "__main__":
    QuickServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
