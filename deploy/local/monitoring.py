"""Prometheus' configuration for this machine, made from the one in deploy/prometheus."""

import json
from pathlib import Path
from typing import Any

import yaml

from deploy.local.ports import HOST
from seedsweep.storage.errors import ConfigError

SOURCE = Path(__file__).parents[1] / "prometheus"
RUNBOOKS = Path(__file__).parents[2] / "docs" / "operations.md"


def render(source: Path, ports: dict[str, int], ray_nodes: Path, seconds: float) -> str:
    """The configuration of the folder `source`, with the addresses of this machine.

    `ports`: of `scheduler` and `prometheus`; `ray_nodes`: the file that lists Ray's nodes;
    `seconds`: between two looks. Raises `ConfigError` for a job that this machine does not have.
    """
    config = yaml.safe_load((source / "prometheus.yml").read_text())
    interval = f"{round(seconds * 1000)}ms"
    for name in ("scrape_interval", "evaluation_interval"):
        config["global"][name] = interval
    config["global"]["external_labels"] = {"runbooks": RUNBOOKS.as_uri()}
    config["rule_files"] = [str(source / name) for name in config.get("rule_files", [])]
    for job in config["scrape_configs"]:
        _address(job, ports, ray_nodes, interval)
    text: str = yaml.safe_dump(config, sort_keys=False)
    return text


def list_ray_node(file: Path, port: int) -> None:
    """Write the file that tells Prometheus where Ray's only node shows its metrics."""
    entry = {"targets": [f"{HOST}:{port}"], "labels": {"job": "ray"}}
    file.write_text(json.dumps([entry]))


def _address(job: dict[str, Any], ports: dict[str, int], ray_nodes: Path, interval: str) -> None:
    match job["job_name"]:
        case "seedsweep":
            url = f"http://{HOST}:{ports['scheduler']}/targets"
            job["http_sd_configs"] = [{"url": url, "refresh_interval": interval}]
        case "prometheus":
            job["static_configs"] = [{"targets": [f"{HOST}:{ports['prometheus']}"]}]
        case "ray":
            job["file_sd_configs"] = [{"files": [str(ray_nodes)]}]
        case other:
            raise ConfigError(
                f"{SOURCE}/prometheus.yml has a job {other!r}, whose address on one machine is not "
                "known; add it to deploy/local/monitoring.py."
            )
