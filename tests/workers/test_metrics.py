import contextlib
import dataclasses
import re
import socket
import urllib.request

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from storage.errors import ConfigError
from storage.ledger import LiveCounts
from workers import metrics
from workers.metrics import CampaignCollector, serve_metrics, show

COUNTS = LiveCounts(
    units=12,
    done=5,
    parked=1,
    queued=2,
    claimed=3,
    failing=1,
    ready=4,
    analysed=6,
    flagged=7,
    state="active",
    trouble="",
    per_prompt=1,
)


@pytest.fixture
def collector():
    """A collector that the registry knows for the time of the test."""
    collector = CampaignCollector()
    yield collector
    with contextlib.suppress(KeyError):
        REGISTRY.unregister(collector)


@pytest.fixture
def taken():
    """A port of 127.0.0.1 that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def scraped(port):
    """The metrics of ours that a port serves, as Prometheus reads them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {f.name: f for f in families if f.name.startswith("seedsweep")}


def shown(collector):
    """Which campaigns a collector shows, and every value: (metric, campaign, state) → value."""
    registry = CollectorRegistry()
    registry.register(collector)
    samples = [sample for family in registry.collect() for sample in family.samples]
    return {(s.name, s.labels["campaign"], s.labels["state"]): s.value for s in samples}


def our_metrics():
    return [family for family in REGISTRY.collect() if family.name.startswith("seedsweep")]


def declared(kind):
    """The names of all metrics of a kind that the module declares."""
    return {m.describe()[0].name for m in vars(metrics).values() if isinstance(m, kind)}


class TestServing:
    def test_the_first_free_port_is_taken_and_serves_every_metric(
        self, taken, free_port, collector
    ):
        collector.update({"small-1": COUNTS})
        free = free_port()
        show(collector)
        assert serve_metrics("127.0.0.1", [taken, free, free_port()]) == free
        assert scraped(free).keys() >= {family.name for family in our_metrics()}
        assert "small-1" in str(scraped(free)["seedsweep_campaign_units"].samples)

    def test_two_on_one_host_get_a_port_each(self, free_port):
        ports = [free_port(), free_port()]
        assert [serve_metrics("127.0.0.1", ports) for _ in range(2)] == ports

    def test_where_every_port_is_taken_another_is_asked_for(self, taken):
        with pytest.raises(ConfigError, match=f"{taken} to {taken} .*--metrics-port"):
            serve_metrics("127.0.0.1", [taken])

    @pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
    def test_a_host_that_is_not_this_machine_is_refused(self, host, free_port):
        with pytest.raises(ConfigError, match="--metrics-host"):
            serve_metrics(host, [free_port()])

    def test_targets_have_an_answer_of_their_own_where_there_is_one(self, free_port):
        def answer(_, start_response):
            start_response("200 OK", [("Content-Type", "application/json")])
            return [b"[]"]

        port = serve_metrics("127.0.0.1", [free_port()], answer)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/targets", timeout=5) as said:
            assert (said.headers["Content-Type"], said.read()) == ("application/json", b"[]")
        assert scraped(port).keys() >= {family.name for family in our_metrics()}

    def test_where_no_port_is_wanted_nothing_is_served(self):
        assert serve_metrics("127.0.0.1", []) is None


class TestCampaigns:
    def test_each_count_is_shown_under_its_state(self):
        collector = CampaignCollector()
        collector.update({"small-1": COUNTS})
        units = {"all": 12, "done": 5, "parked": 1, "queued": 2, "claimed": 3}
        prompts = {"all": 12, "ready": 4, "analysed": 6, "flagged": 7}
        assert shown(collector) == {
            **{("seedsweep_campaign_units", "small-1", s): n for s, n in units.items()},
            **{("seedsweep_campaign_prompts", "small-1", s): n for s, n in prompts.items()},
        }

    def test_those_last_given_are_shown_and_no_others(self):
        collector = CampaignCollector()
        assert shown(collector) == {}
        given = {"a": COUNTS, "b": COUNTS}
        collector.update(given)
        given["c"] = COUNTS
        assert {campaign for _, campaign, _ in shown(collector)} == {"a", "b"}
        collector.update({"b": dataclasses.replace(COUNTS, done=9)})
        assert {campaign for _, campaign, _ in shown(collector)} == {"b"}
        assert shown(collector)["seedsweep_campaign_units", "b", "done"] == 9


class TestNames:
    def test_labels_are_few_and_their_values_are_listed(self, collector):
        collector.update({"small-1": COUNTS})
        REGISTRY.register(collector)
        values = {}
        for sample in (sample for family in our_metrics() for sample in family.samples):
            for label, value in sample.labels.items():
                values.setdefault(label, set()).add(value)
        values.pop("le")  # of histograms: their buckets
        states = {"all", "done", "parked", "queued", "claimed", "ready", "analysed", "flagged"}
        assert values == {
            "stage": set(metrics.STAGES),
            "outcome": set(metrics.OUTCOMES),
            "campaign": {"small-1"},
            "state": states,
        }

    def test_counters_end_in_total_and_durations_are_in_seconds(self):
        names = {sample.name for family in our_metrics() for sample in family.samples}
        counters = {f"{name}_total" for name in declared(Counter)}
        assert counters <= names
        assert {n for n in names if n.endswith("_total")} == counters
        assert declared(Histogram)
        assert all(name.endswith("_seconds") for name in declared(Histogram))
        assert all(re.fullmatch(r"seedsweep(_[a-z]+)+", name) for name in names)
        assert not [n for n in names if re.search(r"_(ms|milli\w*|minutes|hours|percent)\b", n)]

    def test_every_metric_says_what_it_is(self):
        assert len(our_metrics()) > 10
        assert all(family.documentation.endswith(".") for family in our_metrics())
