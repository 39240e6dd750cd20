"""What a part of the deployment is, where it keeps its files, and what its clients need to know."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.place import Place
from deploy.local.ports import HOST
from deploy.local.settings import Settings


def _nothing() -> None:
    pass


def _waits_for_nothing() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class LocalPart:
    """A process to be started; to make one of these writes and starts nothing.

    `ports`: those that have to be free before; `answers`: whether it does its work; `address`:
    where people find it; `prepare`: writes what it reads when it starts; `waits_for`: what it says
    it waits for, empty where it waits for nothing or does not answer.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str]
    ports: list[int]
    answers: Callable[[], bool]
    address: str
    prepare: Callable[[], None] = _nothing
    waits_for: Callable[[], str] = _waits_for_nothing


class Layout:
    """Where what is in a deployment's folder; all paths are absolute."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.settings = self.folder / "settings.json"
        self.environment = self.folder / "env"
        self.lock = self.folder / "lock"
        self.logs = self.folder / "log"

    def place(self, name: str) -> Place:
        """The place of a part."""
        return Place(self.folder, name)

    def data(self, name: str) -> Path:
        """The folder with what a part keeps."""
        return self.folder / "data" / name


def client_environment(settings: Settings) -> dict[str, str]:
    """The variables that a client of the deployment needs."""
    ports, secret = settings.ports, settings.secrets
    store = ports.weed.s3 if settings.options.store == "weed" else ports.minio
    return {
        "SEEDSWEEP_BROKER_URL": f"redis://:{secret.broker_password}@{HOST}:{ports.broker}/0",
        "SEEDSWEEP_STORE_URL": f"s3://seedsweep/store?endpoint=http://{HOST}:{store}",
        "SEEDSWEEP_RAY_ADDRESS": f"{HOST}:{ports.ray.gcs}",
        "AWS_ACCESS_KEY_ID": secret.access_key,
        "AWS_SECRET_ACCESS_KEY": secret.secret_key,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secret.ray_token,
    }


def bare_environment(home: Path) -> dict[str, str]:
    """The environment of a foreign server, which may take options from more variables than ours."""
    return {"PATH": os.environ["PATH"], "HOME": str(home)}
