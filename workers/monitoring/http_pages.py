"""What every service shows over HTTP: its metrics, its health, and perhaps where the others are."""

import errno
import socket
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from seedsweep.storage.errors import ConfigError
from seedsweep.workers.monitoring import broker_watch, health, store_watch

SCHEDULER_PORT, ANALYST_PORT, WORKER_PORT = 9410, 9420, 9430
PORTS = 10
"""A service takes the first free one of so many ports, so that several fit on one host."""


def serve(
    registry: CollectorRegistry,
    host: str,
    ports: Iterable[int],
    targets: WSGIApplication | None = None,
) -> int | None:
    """Serve the pages on the first free port; returns it, None if none is wanted.

    /metrics is for Prometheus; /healthz and /readyz answer 200, or 503 and why: the first one if
    the process should be started again, the second if it gets nothing done, the broker does not
    answer or the store fails it, and which also says that the store is slow. `targets` answers at
    /targets, if it is given. Raises `ConfigError` if every port is taken or the host is not
    this machine's.
    """
    tried, pages = list(ports), _pages(registry, targets)
    for port in tried:
        try:
            return _listen(host, port, pages)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigError(
                    f"Metrics cannot be served on {host}, port {port} ({error.strerror}); give "
                    "--metrics-host an address of this machine, and --metrics-port a port that "
                    "you may open."
                ) from error
    if tried:
        raise ConfigError(
            f"The ports {tried[0]} to {tried[-1]} are all taken; give a free --metrics-port."
        )
    return None


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


def _listen(host: str, port: int, pages: WSGIApplication) -> int:
    """Answer with these pages from the first moment on: prometheus_client's own server would answer
    200 at every path, /readyz too, until it is told of others."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    kind = _Server6 if family == socket.AF_INET6 else _Server
    server = kind((str(address[0]), port), _SilentHandler)
    server.set_app(pages)
    threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()
    return server.server_port


def _pages(registry: CollectorRegistry, targets: WSGIApplication | None) -> WSGIApplication:
    pages: dict[str, WSGIApplication] = {
        "/metrics": make_wsgi_app(registry),
        "/healthz": _health(vital=True),
        "/readyz": _health(vital=False),
    }
    if targets is not None:
        pages["/targets"] = targets

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        page = pages.get(environ["PATH_INFO"])
        if page is not None:
            return page(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [f"There are only {', '.join(pages)} here.\n".encode()]

    return answer


def _health(vital: bool) -> WSGIApplication:
    def answer(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        overdue = health.overdue(vital)
        silence = "" if vital else broker_watch.trouble()
        trouble = None if vital else store_watch.trouble()
        is_fine = not (overdue or silence) and (trouble is None or trouble.kind == "slow")
        status = "200 OK" if is_fine else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        said = [*([silence] if silence else []), *overdue, *([trouble.sentence] if trouble else [])]
        return [("\n".join(said or ["fine"]) + "\n").encode()]

    return answer
