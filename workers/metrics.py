"""Every Prometheus metric of every service, in one place.

No label has more values than this file lists, save `campaign`, which names the campaigns that are
not settled yet.
"""

import errno
from collections.abc import Iterable, Iterator, Mapping
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    make_wsgi_app,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from storage.errors import ConfigError
from storage.ledger import LiveCounts

SCHEDULER_PORT, ANALYST_PORT, WORKER_PORT = 9410, 9420, 9430
PORTS = 10
"""A service takes the first free one of so many ports, so that several fit on one host."""

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
STAGES = ("wait", "load", "render", "encode", "store")
OUTCOMES = ("stored", "existed", "failed", "handed back", "refused")

IMAGES = Counter("seedsweep_images", "Images stored by this worker.")
UNITS = Counter(
    "seedsweep_units", "Units this worker was given, by what became of them.", ["outcome"]
)
STAGE_SECONDS = Histogram(
    "seedsweep_stage_seconds", "Seconds a unit spent in a stage.", ["stage"], buckets=SECONDS
)
MODEL_SWITCHES = Counter(
    "seedsweep_model_switches", "How often this worker turned to another model."
)
HELD_UNITS = Gauge("seedsweep_held_units", "Units this worker has claimed and not stored yet.")
LAST_PROGRESS = Gauge(
    "seedsweep_last_progress_timestamp_seconds", "When this service last got something done."
)

PROMPTS_ANALYSED = Counter("seedsweep_prompts_analysed", "Prompts whose results were stored.")
PROMPTS_FLAGGED = Counter("seedsweep_prompts_flagged", "Prompts analysed and found flagged.")
PROMPTS_FAILED = Counter("seedsweep_prompts_failed", "Analyses of a prompt that failed.")
ANALYSIS_SECONDS = Histogram(
    "seedsweep_analysis_seconds", "Seconds from asking for a prompt to its result.", buckets=SECONDS
)

LEADING = Gauge("seedsweep_scheduler_leading", "1 where this scheduler leads.")
WINDOW = Gauge("seedsweep_window_units", "Units queued or claimed, over all campaigns.")
REMAINING = Gauge(
    "seedsweep_units_remaining", "Units neither done nor parked, in active campaigns."
)
WORKERS_LIVE = Gauge("seedsweep_workers_live", "Workers that showed life within a lease.")

for _stage in STAGES:
    STAGE_SECONDS.labels(_stage)
for _outcome in OUTCOMES:
    UNITS.labels(_outcome)


class CampaignCollector(Collector):
    """The live counts of the campaigns that are not settled, as gauges."""

    def __init__(self) -> None:
        self._counts: Mapping[str, LiveCounts] = {}

    def update(self, counts: Mapping[str, LiveCounts]) -> None:
        """Show these campaigns from now on, and no others."""
        self._counts = dict(counts)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Make the gauges anew, so that a campaign's labels end with it."""
        units = GaugeMetricFamily(
            "seedsweep_campaign_units", "Units of a campaign.", labels=["campaign", "state"]
        )
        prompts = GaugeMetricFamily(
            "seedsweep_campaign_prompts", "Prompts of a campaign.", labels=["campaign", "state"]
        )
        for campaign_id, counts in self._counts.items():
            for state in ("units", "done", "parked", "queued", "claimed"):
                name = "all" if state == "units" else state
                units.add_metric([campaign_id, name], getattr(counts, state))
            for state in ("prompts", "ready", "analysed", "flagged"):
                name = "all" if state == "prompts" else state
                prompts.add_metric([campaign_id, name], getattr(counts, state))
        yield units
        yield prompts


def show(collector: Collector) -> None:
    """Have the metrics of a collector served with the others."""
    REGISTRY.register(collector)


def serve_metrics(
    host: str, ports: Iterable[int], targets: WSGIApplication | None = None
) -> int | None:
    """Serve all metrics over HTTP on the first free port; returns it, None where none is wanted.

    `targets` answers at /targets, where it is given. Raises `ConfigError` where every port is taken
    or the host is not this machine's.
    """
    tried = list(ports)
    for port in tried:
        try:
            server, _ = start_http_server(port, addr=host)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigError(
                    f"Metrics cannot be served on {host} ({error.strerror}); give --metrics-host "
                    "an address of this machine."
                ) from error
            continue
        if targets is not None:
            server.set_app(_beside_metrics(targets))
        return int(server.server_port)
    if tried:
        raise ConfigError(
            f"The ports {tried[0]} to {tried[-1]} are all taken; give a free --metrics-port."
        )
    return None


def _beside_metrics(targets: WSGIApplication) -> WSGIApplication:
    shown = make_wsgi_app()

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        chosen = targets if environ["PATH_INFO"] == "/targets" else shown
        return chosen(environ, start_response)

    return answer
