"""How a metric enters the catalogue, and is kept by the services that show it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# Otherwise each counter brings a second series, of when it began, that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

Service = Literal["scheduler", "analyst", "worker"]
Kind = Literal["counter", "gauge", "histogram"]
Labels = Mapping[str, tuple[str, ...]]
Own = Counter | Gauge | Histogram
M = TypeVar("M", Counter, Gauge, Histogram)

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)

ANY: tuple[str, ...] = ()
"""The values of a label that no list can name."""

_NONE: Labels = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalogue says of a metric.

    `name`: as Prometheus shows it, a histogram's without suffix; `labels`: each with all its
    values; `services`: those that show it.
    """

    name: str
    kind: Kind
    help: str
    services: tuple[Service, ...]
    labels: Labels


class Catalogue:
    """Every metric by its name, in the order in which they were entered."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._kept: list[tuple[Entry, Own]] = []

    def kept_by(self, service: Service) -> Iterator[Own]:
        """The metrics that a service keeps itself; those that were only entered are looked up at a
        scrape."""
        return (metric for entry, metric in self._kept if service in entry.services)

    def enter(
        self,
        name: str,
        kind: Kind,
        text: str,
        services: tuple[Service, ...],
        labels: Labels = _NONE,
    ) -> Entry:
        """Enter a metric that a collector looks up."""
        entry = self.entries[name] = Entry(name, kind, text, services, labels)
        return entry

    def counter(
        self, name: str, text: str, services: tuple[Service, ...], labels: Labels = _NONE
    ) -> Counter:
        entry = self.enter(name, "counter", text, services, labels)
        return self._keep(entry, Counter(name, text, list(labels), registry=None))

    def gauge(
        self, name: str, text: str, services: tuple[Service, ...], labels: Labels = _NONE
    ) -> Gauge:
        entry = self.enter(name, "gauge", text, services, labels)
        return self._keep(entry, Gauge(name, text, list(labels), registry=None))

    def histogram(
        self, name: str, text: str, services: tuple[Service, ...], labels: Labels = _NONE
    ) -> Histogram:
        entry = self.enter(name, "histogram", text, services, labels)
        made = Histogram(name, text, list(labels), registry=None, buckets=SECONDS)
        return self._keep(entry, made)

    def _keep(self, entry: Entry, metric: M) -> M:
        for values in entry.labels.values():
            for value in values:
                # Shown from the start, so that a rate counts the first event too.
                metric.labels(value)
        self._kept.append((entry, metric))
        return metric
