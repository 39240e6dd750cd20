"""What the dashboards ask Prometheus, for tests that ask it too."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seedsweep.workers.monitoring.metrics import CATALOGUE

NEEDS_GPU = frozenset({"seedsweep_device_memory_bytes", "seedsweep_device_utilisation_ratio"})
"""Metrics that only workers with a GPU show."""

NEEDS_RAY = frozenset(
    {
        "ray_gcs_actors_count",
        "ray_node_cpu_utilization",
        "ray_node_mem_total",
        "ray_node_mem_used",
        "ray_object_store_memory",
    }
)
"""Metrics of Ray's own, which a node shows that was started with `--metrics-export-port`."""

FOREIGN = NEEDS_RAY | {
    "up",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
"""Metrics in dashboards and rules that are not in our catalogue."""

SHOWN = {
    f"{entry.name}{suffix}": entry
    for entry in CATALOGUE.values()
    for suffix in (("_bucket", "_sum", "_count") if entry.kind == "histogram" else ("",))
}
"""What the catalogue says of every name that our services show."""

VARIABLES = {
    "$__rate_interval": "1m",
    "$__range": "5m",
    "$deployment": "seedsweep",
    "$campaign": ".*",
    "$host": ".*",
    "$price": "1",
}
"""Values that make an expression whole, as Grafana would."""

_NAME = re.compile(r"\b(?:seedsweep_|ray_|process_)\w+|\bup\b")


def panel_queries(path: Path) -> list[tuple[str, str, str]]:
    """Dashboard, panel's title and expression, for every query of a dashboard's file."""
    board = json.loads(path.read_text())
    return [
        (board["title"], panel["title"], target["expr"])
        for panel in _panels(board)
        for target in panel.get("targets", [])
    ]


def filled_in(expr: str) -> str:
    """The expression with a value for each of the dashboards' variables."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def metrics_in(expr: str) -> set[str]:
    """The metrics that an expression asks for, histograms with their suffix."""
    without_strings = re.sub(r'"[^"]*"', "", expr)
    return set(_NAME.findall(without_strings))


def _panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])
