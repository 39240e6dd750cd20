"""What a deployment keeps from one start to the next: how it runs, its ports and its secrets."""

import secrets
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.local.ports import free_ports, free_run
from deploy.local.servers import WeedPorts, choose_weed_ports
from seedsweep.storage.whole_file import write_whole

StoreKind = Literal["weed", "minio"]


class Options(BaseModel):
    """How it runs: what `up` was told last.

    `workers` None: one for each device. `scrape_seconds`: between two looks of Prometheus.
    """

    model_config = ConfigDict(frozen=True)

    devices: str | None = None
    workers: int | None = None
    actors: int = 1
    prometheus: bool = True
    scrape_seconds: float = 15
    store: StoreKind = "weed"


def differences(last: Options, wanted: Options) -> str:
    """Which options differ, as in `--workers 1, not --workers 2`."""
    before, after = last.model_dump(), wanted.model_dump()
    return " and ".join(
        f"{_flag(name, before[name])}, not {_flag(name, after[name])}"
        for name in before
        if before[name] != after[name]
    )


def _flag(name: str, value: object) -> str:
    """An option as people give it; None is what it is without the option."""
    flag = "s3-server" if name == "store" else name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"no --{flag}" if value is None else f"--{flag} {value}"


class RayPorts(BaseModel):
    """Where the parts of a Ray node listen; drivers need `gcs`, Ray clients `client`."""

    model_config = ConfigDict(frozen=True)

    gcs: int
    client: int
    metrics: int
    node_manager: int
    object_manager: int
    runtime_env_agent: int
    dashboard: int
    dashboard_agent: int
    dashboard_agent_grpc: int
    dashboard_metrics: int
    autoscaler_metrics: int


class Ports(BaseModel):
    """Where everything listens on 127.0.0.1; the workers have `workers` and those above."""

    model_config = ConfigDict(frozen=True)

    broker: int
    minio: int
    minio_console: int
    weed: WeedPorts
    ray: RayPorts
    scheduler: int
    analyst: int
    workers: int
    workers_reserved: int
    prometheus: int

    @property
    def all_but_workers(self) -> set[int]:
        own = {self.broker, self.minio, self.minio_console, self.scheduler, self.analyst}
        return {*own, self.prometheus, *self.weed.all, *self.ray.model_dump().values()}


class Secrets(BaseModel):
    """Random ones, made on the first start."""

    model_config = ConfigDict(frozen=True)

    broker_password: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    access_key: str = Field(default_factory=lambda: secrets.token_hex(10))
    secret_key: str = Field(default_factory=lambda: secrets.token_urlsafe(30))
    ray_token: str = Field(default_factory=lambda: secrets.token_hex(32))


class Settings(BaseModel):
    """All of it."""

    model_config = ConfigDict(frozen=True)

    options: Options
    ports: Ports
    secrets: Secrets


def load(file: Path) -> Settings | None:
    """What was kept, None where nothing was."""
    return Settings.model_validate_json(file.read_text()) if file.is_file() else None


def save(settings: Settings, file: Path) -> None:
    """Keep it for the next start."""
    write_whole(file, settings.model_dump_json(indent=2), private=True)


def settle(last: Settings | None, options: Options, workers: int) -> Settings:
    """These options, with the ports and secrets of the last time, or new ones.

    There are ports for so many workers.
    """
    ports = last.ports if last else _choose_ports(workers)
    if ports.workers_reserved < workers:
        moved = free_run(workers, ports.all_but_workers)
        ports = ports.model_copy(update={"workers": moved, "workers_reserved": workers})
    return Settings(options=options, ports=ports, secrets=last.secrets if last else Secrets())


def _choose_ports(workers: int) -> Ports:
    weed = choose_weed_ports()
    names = list(RayPorts.model_fields)
    others = ("broker", "minio", "minio_console", "scheduler", "analyst", "prometheus")
    chosen = free_ports(len(names) + len(others), weed.all)
    ray = RayPorts(**dict(zip(names, chosen, strict=False)))
    own = dict(zip(others, chosen[len(names) :], strict=True))
    first = free_run(workers, [*weed.all, *chosen])
    return Ports(weed=weed, ray=ray, workers=first, workers_reserved=workers, **own)
