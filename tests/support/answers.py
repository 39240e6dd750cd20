"""HTTP servers that answer as a function says, which stand in for what a test cannot have."""

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from seedsweep.storage.s3.connection import Patience

HASTE = Patience(connect=1.0, read=1.0, again=3.0, backoff=0.001)
"""That of a store whose server a test controls."""


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def is_create(self):
        return "If-None-Match" in self.headers


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def s3_error(status, code, message="told by a test"):
    xml = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, xml.encode(), {"Content-Type": "application/xml"})


@contextlib.contextmanager
def serving(behave):
    """A server that answers as `behave` says, and drops connections for None: its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(behave))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def handler_of(behave):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            given = behave(Request(self.command, self.path, dict(self.headers), body))
            if given is None:
                self.close_connection = True
                return
            self.send_response_only(given.status)
            for name, value in {"Content-Length": str(len(given.body)), **given.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body)
            # A body cut short ends with its connection.
            self.close_connection = int(given.headers.get("Content-Length", 0)) > len(given.body)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer

        def log_message(self, *_):
            pass

    return Handler
