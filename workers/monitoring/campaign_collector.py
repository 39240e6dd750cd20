"""What is looked up when Prometheus asks: the campaigns' live counts, and the GPU's state."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from seedsweep.storage.live_state import LiveCounts
from seedsweep.workers.monitoring import metrics
from seedsweep.workers.monitoring.catalogue import Entry, Service


@dataclass(frozen=True, slots=True)
class CampaignState:
    """What is shown of a campaign: its counts, its images stored, to be made in all, and spared by
    stages, device seconds."""

    counts: LiveCounts
    images: int
    images_done: int
    images_spared: int
    device_seconds: float


class CampaignCollector(Collector):
    """The campaigns that are not settled; the labels of one end with it."""

    def __init__(self) -> None:
        self._states: Mapping[str, CampaignState] = {}

    def update(self, states: Mapping[str, CampaignState]) -> None:
        """Show these campaigns from now on, and no others."""
        self._states = dict(states)

    def collect(self) -> Iterator[Metric]:
        """Make the families anew from what was last given."""
        units, images = _gauge(metrics.CAMPAIGN_UNITS), _gauge(metrics.CAMPAIGN_IMAGES)
        prompts = _gauge(metrics.CAMPAIGN_PROMPTS)
        entry = metrics.CAMPAIGN_DEVICE_SECONDS
        device = CounterMetricFamily(entry.name, entry.help, labels=list(entry.labels))
        for campaign_id, state in self._states.items():
            _add_counts(units, metrics.CAMPAIGN_UNITS, campaign_id, state.counts)
            _add_counts(prompts, metrics.CAMPAIGN_PROMPTS, campaign_id, state.counts)
            images.add_metric([campaign_id, "all"], state.images)
            images.add_metric([campaign_id, "done"], state.images_done)
            images.add_metric([campaign_id, "spared"], state.images_spared)
            device.add_metric([campaign_id], state.device_seconds)
        yield from (units, images, prompts, device)


def registry_of(service: Service, collectors: Iterable[Collector] = ()) -> CollectorRegistry:
    """All that a service shows: what it keeps, what these collectors find, and its process."""
    registry = CollectorRegistry()
    for metric in metrics.registered_by(service):
        registry.register(metric)
    for collector in collectors:
        registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def _gauge(entry: Entry) -> GaugeMetricFamily:
    return GaugeMetricFamily(entry.name, entry.help, labels=list(entry.labels))


def _add_counts(
    family: GaugeMetricFamily, entry: Entry, campaign_id: str, counts: LiveCounts
) -> None:
    whole = "wanted" if entry is metrics.CAMPAIGN_UNITS else "prompts"
    for state in entry.labels["state"]:
        count = getattr(counts, whole if state == "all" else state)
        if state == "ready" and counts.state != "active":
            count = 0
        family.add_metric([campaign_id, state], count)
