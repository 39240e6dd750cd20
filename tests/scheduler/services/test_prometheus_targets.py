import json
import platform
import urllib.error
import urllib.request

import pytest

from seedsweep.scheduler.services.prometheus_targets import (
    Target,
    advertised,
    answer_targets,
    find_targets,
)
from seedsweep.storage.records import Worker
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.monitoring.campaign_collector import registry_of
from seedsweep.workers.monitoring.http_pages import serve


def worker(name, metrics, host="gpu1"):
    return Worker(
        name=name,
        host=host,
        device="cuda:0",
        model="m",
        images=7,
        images_per_second=1.5,
        metrics=metrics,
    )


@pytest.fixture
def ask(free_port):
    """What a scheduler on a broker answers at /targets: status, content type, text."""

    def ask(broker_url):
        targets = answer_targets(Workforce(broker_url))
        port = serve(registry_of("scheduler"), "127.0.0.1", [free_port()], targets)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/targets", timeout=60) as said:
                return said.status, said.headers["Content-Type"], said.read().decode()
        except urllib.error.HTTPError as said:
            return said.code, said.headers["Content-Type"], said.read().decode()

    return ask


def test_every_service_that_shows_metrics_is_a_target(broker_url, workforce):
    Workforce(broker_url, "host1:9410").lead()
    Workforce(broker_url, "host1:9420").beat_analyst("a")
    workforce.beat(worker("w", "gpu1:9430"))
    workforce.beat(worker("silent", ""))
    labels = {"worker": "w", "host": "gpu1", "device": "cuda:0"}
    assert find_targets(workforce) == [
        Target(["host1:9420"], {"job": "seedsweep-analyst"}),
        Target(["host1:9410"], {"job": "seedsweep-scheduler"}),
        Target(["gpu1:9430"], {"job": "seedsweep-worker", **labels}),
    ]


def test_workers_that_left_vanished_or_took_themselves_out_are_none(workforce, broker):
    for name in ("left", "vanished", "broken"):
        workforce.beat(worker(name, "gpu1:9430"))
    workforce.leave("left")
    broker.zadd("seedsweep:beats", {"vanished": broker.time()[0] * 1000 - 60_000})
    broken = worker("broken", "gpu1:9430").model_copy(update={"why_out": "It failed."})
    workforce.take_out(broken)
    assert find_targets(workforce) == []


@pytest.mark.parametrize("address", ["127.0.0.1:9430", "[::1]:9430", "localhost:9430"])
def test_what_is_shown_on_loopback_is_a_target_on_the_same_machine_only(workforce, address):
    workforce.beat(worker("here", address, host=platform.node()))
    workforce.beat(worker("elsewhere", address, host="not-" + platform.node()))
    assert [target.labels["worker"] for target in find_targets(workforce)] == ["here"]


@pytest.mark.parametrize(
    ("host", "called"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("gpu1.example", "gpu1.example"),
        ("::1", "[::1]"),
        ("fd00::7", "[fd00::7]"),
        ("0.0.0.0", platform.node()),  # noqa: S104
        ("::", platform.node()),
    ],
)
def test_a_service_is_called_by_its_host_or_where_it_listens_everywhere_by_the_machine(
    host, called
):
    assert advertised(host, 9430) == f"{called}:9430"


def test_the_answer_is_what_prometheus_reads(ask, broker_url, workforce):
    assert ask(broker_url) == (200, "application/json", "[]")
    Workforce(broker_url, "host1:9410").lead()
    workforce.beat(worker("w", "[fd00::7]:9430"))
    status, kind, text = ask(broker_url)
    assert (status, kind) == (200, "application/json")
    labels = {"worker": "w", "host": "gpu1", "device": "cuda:0"}
    assert json.loads(text) == [
        {"targets": ["host1:9410"], "labels": {"job": "seedsweep-scheduler"}},
        {"targets": ["[fd00::7]:9430"], "labels": {"job": "seedsweep-worker", **labels}},
    ]


def test_while_the_broker_is_away_the_answer_is_503_and_one_sentence(ask, free_port):
    """Prometheus then keeps the list that it has."""
    status, _, text = ask(f"redis://127.0.0.1:{free_port()}/0")
    assert status == 503
    assert len(text.splitlines()) == 1
    assert "SEEDSWEEP_BROKER_URL" in text
