"""The page that says what every metric means, made from the catalogue."""

from collections.abc import Iterator

from seedsweep.workers.monitoring.catalogue import Entry, Labels, Service
from seedsweep.workers.monitoring.metrics import CATALOGUE

HEAD = """\
# Metrics that Prometheus reads

Made from `workers/monitoring/metrics.py` by `python -m deploy.generate`; do not edit it.

Every service also shows `process_*` of its process: CPU seconds, memory, open files, start. What
`/targets` tells Prometheus adds to every series `job` (`seedsweep-scheduler`, `seedsweep-analyst`
or `seedsweep-worker`), and to a worker's also `worker`, `host` and `device`. A histogram has
`_bucket`, `_sum` and `_count`. The label `campaign` holds the id of a campaign that is not
settled, and its series end once it is; all other labels have the values given here.
[operations.md](operations.md) says which dashboard and alert to look at.
"""


def metrics_page() -> str:
    """docs/metrics.md, in Markdown."""
    groups: dict[tuple[Service, ...], list[Entry]] = {}
    for entry in CATALOGUE.values():
        groups.setdefault(entry.services, []).append(entry)
    return "\n".join([HEAD, *(line for group in groups.items() for line in _section(*group))])


def _section(services: tuple[Service, ...], entries: list[Entry]) -> Iterator[str]:
    everyone = len(services) == 3
    yield f"## {'Every service' if everyone else ' and '.join(services).capitalize()}"
    yield ""
    yield "| metric | kind | labels | services | meaning |"
    yield "|---|---|---|---|---|"
    for entry in entries:
        cells = (f"`{entry.name}`", entry.kind, _labels(entry.labels), ", ".join(entry.services))
        yield f"| {' | '.join(cells)} | {entry.help} |"
    yield ""


def _labels(labels: Labels) -> str:
    return "; ".join(f"`{name}`: {', '.join(values) or 'any'}" for name, values in labels.items())
