"""Ray as a part of the deployment."""

import contextlib
import importlib.util
import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path

from deploy.local.answers import is_fine, listens
from deploy.local.part import Layout, LocalPart, client_environment
from deploy.local.ports import HOST
from deploy.local.settings import Settings
from seedsweep.storage.errors import ConfigError

SESSIONS_KEPT = 3

CREWS = 2
"""So many crews of actors find CPUs in Ray: the analyst's, and that of a `seedsweep analyse`."""


def ray_node(layout: Layout, settings: Settings) -> LocalPart:
    """A Ray of one node, on loopback, that asks for a token; Prometheus finds its metrics.

    Raises `ConfigError` where Ray is installed without them.
    """
    if importlib.util.find_spec("aiohttp_cors") is None:
        raise ConfigError("Ray comes without its metrics; `pip install 'ray[default]'`.")
    ports, sessions = settings.ports.ray, layout.data("ray")
    options = {
        "node-ip-address": HOST,
        "port": ports.gcs,
        "node-manager-port": ports.node_manager,
        "object-manager-port": ports.object_manager,
        "runtime-env-agent-port": ports.runtime_env_agent,
        "dashboard-port": ports.dashboard,
        "dashboard-agent-listen-port": ports.dashboard_agent,
        "dashboard-agent-grpc-port": ports.dashboard_agent_grpc,
        "ray-client-server-port": ports.client,
        "metrics-export-port": ports.metrics,
        # Any free ones, where Ray would reserve half of all others.
        "min-worker-port": 0,
        "max-worker-port": 0,
        "include-dashboard": "false",
        "include-log-monitor": "false",
        "num-cpus": CREWS * settings.options.actors,
        "object-store-memory": 100 * 1024 * 1024,
        "temp-dir": _link(sessions),
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    environment = os.environ | client_environment(settings)
    environment |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        # On every system, not only on those that it is named after: bound to loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # No process that waits for work: an actor has one of its own.
        "RAY_prestart_worker_first_driver": "0",
        "AUTOSCALER_METRIC_PORT": str(ports.autoscaler_metrics),
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
    }
    return LocalPart(
        "ray",
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *flags],
        environment,
        list(ports.model_dump().values()),
        lambda: listens(ports.gcs) and is_fine(ports.metrics, "/metrics"),
        f"{HOST}:{ports.gcs}",
        lambda: _prepare(sessions),
    )


def clean_up(sessions: Path) -> None:
    """Remove what a Ray that has ended left outside its folder."""
    if _is_ours(_link(sessions), sessions):
        _link(sessions).unlink()


def _prepare(sessions: Path) -> None:
    old = sorted(path for path in sessions.glob("session_2*") if path.is_dir())
    for session in old[: 1 - SESSIONS_KEPT]:
        shutil.rmtree(session, ignore_errors=True)
    link = _link(sessions)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(sessions)
    if not _is_ours(link, sessions):
        raise ConfigError(f"{link} is in Ray's way, and not of this deployment; remove it.")


def _link(sessions: Path) -> Path:
    """A short name for Ray's folder: the path of a socket ends after 107 characters.

    Always in /tmp, since TMPDIR may be long, and another one when it is to be removed.
    """
    name = sha256(str(sessions).encode()).hexdigest()[:12]
    return Path("/tmp") / f"seedsweep-ray-{name}"  # noqa: S108 - looked at before it is used


def _is_ours(link: Path, sessions: Path) -> bool:
    is_link = link.is_symlink() and link.lstat().st_uid == os.getuid()
    return is_link and link.readlink() == sessions
