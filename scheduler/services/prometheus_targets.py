"""Where Prometheus finds the services: what a scheduler answers at /targets."""

import ipaddress
import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from seedsweep.scheduler.printable import shown
from seedsweep.storage.errors import BrokerUnavailableError
from seedsweep.storage.workforce import Workforce


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of Prometheus' HTTP service discovery: addresses (HOST:PORT), and their labels."""

    targets: list[str]
    labels: dict[str, str] = field(default_factory=dict)


def advertised(host: str, port: int) -> str:
    """How others call a service that listens on a host and port, as HOST:PORT.

    One that listens on every address goes by the machine's name, any other by the host as it is.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"{host}:{port}"
    if address.is_unspecified:
        return f"{platform.node()}:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def find_targets(workforce: Workforce) -> list[Target]:
    """Every live service that shows metrics: schedulers, analysts and workers.

    One that shows them on loopback only is left out unless it is on this machine: anywhere else its
    address names another service.
    """
    targets = []
    for service in workforce.shown():
        if _is_reachable(service.metrics, service.host):
            targets.append(Target([service.metrics], {"job": f"seedsweep-{service.kind}"}))
    for worker in (sign.worker for sign in workforce.signs() if sign.alive):
        if worker.metrics and _is_reachable(worker.metrics, worker.host):
            labels = {"worker": worker.name, "host": worker.host, "device": worker.device}
            targets.append(Target([worker.metrics], {"job": "seedsweep-worker", **labels}))
    return targets


def answer_targets(workforce: Workforce) -> WSGIApplication:
    """Answer with the targets as JSON, or with 503 and one sentence while the broker is away."""

    def answer(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            targets = find_targets(workforce)
        except BrokerUnavailableError as error:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [f"{shown(str(error))}\n".encode()]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps([asdict(target) for target in targets]).encode()]

    return answer


def _is_reachable(address: str, host: str) -> bool:
    return host == platform.node() or not _is_loopback(address.rpartition(":")[0])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
