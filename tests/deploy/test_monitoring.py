"""Prometheus watches a whole deployment at work: what the dashboards and alerts ask for is there.

Every query of every panel is asked of a real Prometheus while two campaigns run: one of `noise`,
and a long one whose first prompt fails and is parked.
"""

import json
import math
import os
import re
import signal
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import yaml

from deploy.generate import DASHBOARDS
from deploy.grafana.queries import NEEDS_GPU, filled_in, metrics_in, panel_queries
from deploy.local.answers import get
from seedsweep.workers.monitoring.catalogue import ANY
from seedsweep.workers.monitoring.metrics import CATALOGUE
from tests.support.campaigns import campaign_text, small_sampling
from tests.support.checkout import ROOT
from tests.support.deployment import write_campaign
from tests.support.local import Local
from tests.support.servers import wait_until
from tests.support.tools import need

FILES = sorted((ROOT / DASHBOARDS).glob("*.json"))
QUERIES = [query for file in FILES for query in panel_queries(file)]
ON_A_CPU = [query for query in QUERIES if not metrics_in(query[2]) & NEEDS_GPU]
SHOWN = [entry for entry in CATALOGUE.values() if entry.name not in NEEDS_GPU]
JOBS = ["prometheus", "ray", "seedsweep-analyst", "seedsweep-scheduler", *["seedsweep-worker"] * 2]

DID_NOT_HAPPEN = {
    "seedsweep_broker_memory_limit_bytes",
    "seedsweep_lease_expiries_total",
    "seedsweep_prompts_failed_total",
    "seedsweep_store_errors_total",
    "seedsweep_store_trouble",
    "seedsweep_workers_lost",
}

BROKEN = "a prompt that cannot be drawn"
DRAWN = f"""
import time
import numpy as np

def draw(prompt, seed, width, height):
    if prompt == {BROKEN!r}:
        raise RuntimeError("it cannot be drawn")
    time.sleep(0.05)
    repeats = int(prompt.split()[-1]) % 3 == 0
    generator = np.random.default_rng(0 if repeats else [seed, *prompt.encode()])
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
"""
LONG = campaign_text(
    "long",
    model={"pipeline": "python", "path": "drawn:draw"},
    prompts={"file": "long.txt"},
    sampling=small_sampling(40, 32, images_per_unit=20, batch_size=20),
    analysis={"min_clique_size": 5},
)


class Prometheus:
    """What a Prometheus answers over HTTP."""

    def __init__(self, port):
        self._port = port

    def ask(self, path, **words):
        query = f"?{urlencode(words)}" if words else ""
        status, text = get(self._port, f"/api/v1/{path}{query}")
        assert status == 200, text
        return json.loads(text)["data"]

    def values(self, expr):
        """The values of an expression's series now, those left out that are no number."""
        found = [float(series["value"][1]) for series in self.ask("query", query=expr)["result"]]
        return [value for value in found if not math.isnan(value)]

    def rules(self):
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    """A deployment at work, watched every second."""
    need("prometheus")
    folder = tmp_path_factory.mktemp("monitored")
    (folder / "drawn.py").write_text(DRAWN)
    python = {"PYTHONPATH": f"{ROOT}:{folder}", "SEEDSWEEP_ALLOW_PYTHON": "drawn:draw"}
    deployment = Local(folder / "deployed", **python)
    (folder / "long.txt").write_text("\n".join([BROKEN, *(f"number {i}" for i in range(1000))]))
    (folder / "long.toml").write_text(LONG)
    try:
        deployment.up("--workers", "2", "--scrape-seconds", "1")
        deployment.submit(folder / "long.toml")
        deployment.submit(write_campaign(folder, "noise", 400))
        yield deployment
        cancel(deployment)
    finally:
        deployment.down("--patience", "30")


def cancel(deployment):
    """Have the long campaign take nobody's processor any more."""
    campaigns = json.loads(deployment.seedsweep("status", "--json"))
    (long,) = (each["id"] for each in campaigns if each["name"] == "long")
    deployment.seedsweep("cancel", long)


@pytest.fixture(scope="module")
def prometheus(deployment):
    """Prometheus, once everything that its panels are about has happened."""
    prometheus = Prometheus(deployment.settings.ports.prometheus)
    for happened in (
        'seedsweep_campaign_units{campaign=~"long.*",state="parked"} > 0',
        'seedsweep_campaign_prompts{campaign=~"long.*",state="flagged"} > 0',
    ):
        wait_until(lambda happened=happened: prometheus.values(happened), timeout=60)
    return prometheus


def test_every_part_is_found_and_answers(prometheus):
    def targets():
        found = prometheus.ask("targets")["activeTargets"]
        return sorted((target["labels"]["job"], target["health"]) for target in found)

    wait_until(lambda: targets() == [(job, "up") for job in JOBS], timeout=30)


@pytest.mark.parametrize(
    "expr", [pytest.param(expr, id=f"{board}: {title}") for board, title, expr in ON_A_CPU]
)
def test_every_panel_finds_something_to_show(prometheus, expr):
    wait_until(lambda: prometheus.values(filled_in(expr)), timeout=30)


def test_every_choice_of_a_dashboard_has_something_to_choose(prometheus):
    variables = [
        variable["query"]["query"]
        for file in FILES
        for variable in json.loads(file.read_text())["templating"]["list"]
        if variable["type"] == "query"
    ]
    assert variables
    for query in variables:
        chosen, label = re.fullmatch(r"label_values\((.*), *(\w+)\)", query).groups()
        assert prometheus.ask(f"label/{label}/values", **{"match[]": filled_in(chosen)})


@pytest.mark.parametrize("entry", SHOWN, ids=lambda entry: entry.name)
def test_every_metric_is_shown_as_the_catalogue_says(prometheus, entry):
    suffixes = ("_bucket", "_sum", "_count") if entry.kind == "histogram" else ("",)
    for suffix in suffixes:
        series = prometheus.ask("series", **{"match[]": entry.name + suffix})
        shown_by = {one["job"].removeprefix("seedsweep-") for one in series}
        assert shown_by == {*entry.services}
        for label, values in entry.labels.items():
            assert values in (ANY, tuple(v for v in values if v in {one[label] for one in series}))


@pytest.mark.parametrize("entry", SHOWN, ids=lambda entry: entry.name)
def test_what_happened_is_counted_and_nothing_else(prometheus, entry):
    total = f"sum({entry.name}{'_count' if entry.kind == 'histogram' else ''})"
    if entry.name in DID_NOT_HAPPEN:
        assert prometheus.values(total) == [0]
    else:
        wait_until(lambda: prometheus.values(f"{total} > 0"), timeout=30)


def test_every_rule_is_loaded_and_can_be_judged(prometheus):
    file = Path(ROOT / "deploy/prometheus/alerts.yml")
    groups = yaml.safe_load(file.read_text())["groups"]
    names = [rule["alert"] for group in groups for rule in group["rules"]]
    wait_until(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()), timeout=30)
    rules = prometheus.rules()
    assert {rule["name"]: rule.get("lastError", "") for rule in rules} == dict.fromkeys(names, "")
    assert {rule["health"] for rule in rules} == {"ok"}


def test_an_alert_sees_the_parked_unit_and_none_sees_a_failure_that_is_not_there(prometheus):
    raised = {rule["name"] for rule in prometheus.rules() if rule["state"] != "inactive"}
    assert "SeedsweepUnitsParked" in raised
    assert raised.isdisjoint({"SeedsweepTargetDown", "SeedsweepNoLeader", "SeedsweepNoWorkers"})


def test_an_alert_links_to_its_section_by_an_absolute_url(prometheus):
    (rule,) = (rule for rule in prometheus.rules() if rule["name"] == "SeedsweepUnitsParked")
    page, anchor = rule["alerts"][0]["annotations"]["runbook_url"].split("#")
    assert urlsplit(page).scheme == "file"
    assert f"### {rule['name']}\n" in Path(urlsplit(page).path).read_text()
    assert anchor == rule["name"].lower()


def test_every_series_of_ours_is_of_a_deployment(prometheus):
    assert prometheus.ask("label/deployment/values") == ["seedsweep"]
    assert not prometheus.values('{__name__=~"seedsweep_.*",deployment=""}')


def test_what_a_worker_showed_is_gone_soon_after_it_went(prometheus, deployment):
    """Not after the five minutes for which Prometheus takes the last value for the present one."""
    cancel(deployment)
    (name, *_) = prometheus.ask("label/worker/values", **{"match[]": "seedsweep_units_total"})
    gone = f'{{worker="{name}"}}'
    assert prometheus.values(gone)
    os.kill(int(name.rpartition("-")[2]), signal.SIGKILL)
    wait_until(lambda: not prometheus.values(gone), timeout=60)
    wait_until(lambda: len(prometheus.values('up{job="seedsweep-worker"}')) == 2, timeout=60)
