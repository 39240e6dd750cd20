"""The dashboards are made from code, ask for metrics that exist, and leave none out.

That their queries find series is shown against a real Prometheus, fed by a real campaign.
"""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from deploy.generate import DASHBOARDS, differing, generated
from deploy.grafana.queries import (
    FOREIGN,
    NEEDS_GPU,
    SHOWN,
    VARIABLES,
    filled_in,
    metrics_in,
    panel_queries,
)
from seedsweep.workers.monitoring.metrics import CATALOGUE
from tests.support.checkout import ROOT
from tests.support.tools import need

FILES = sorted((ROOT / DASHBOARDS).glob("*.json"))
QUERIES = [query for file in FILES for query in panel_queries(file)]
RULES = [
    rule["expr"]
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
EXPRESSIONS = [expr for _, _, expr in QUERIES] + RULES
FROM_SCRAPING = {"job", "instance", "worker", "host", "device", "le"}
UNITS = {"short", "s", "ops", "reqps", "bytes", "Bps", "percentunit", "percent"}


def boards():
    return [json.loads(file.read_text()) for file in FILES]


def panels():
    return [p for board in boards() for p in board["panels"] if p["type"] != "row"]


def matchers(expr):
    """Metric, label, operator and value of everything that an expression chooses by."""
    for name, chosen in re.findall(r"(\w+)\{([^}]*)\}", expr):
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', chosen):
            yield name, label, operator, value


def test_the_files_are_what_the_code_makes():
    assert differing(ROOT) == []


def test_there_is_one_dashboard_for_each_question():
    assert [file.stem for file in FILES] == ["analysis", "campaign", "services", "workers"]


def test_the_same_code_makes_the_same_files():
    assert generated() == generated()
    assert all(text.endswith("\n") for text in generated().values())


def test_a_file_that_was_changed_by_hand_is_named(tmp_path):
    for path in generated():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    changed = tmp_path / DASHBOARDS / "campaign.json"
    changed.write_text(changed.read_text() + " ")
    assert differing(tmp_path) == [DASHBOARDS / "campaign.json"]
    changed.unlink()
    assert differing(tmp_path) == [DASHBOARDS / "campaign.json"]


def test_the_command_says_that_nothing_differs():
    command = [sys.executable, "-m", "deploy.generate", "--check"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_every_metric_is_looked_at_by_a_dashboard_or_a_rule():
    asked = {name for expr in EXPRESSIONS for name in metrics_in(expr)}
    assert {SHOWN[name].name for name in asked & SHOWN.keys()} == CATALOGUE.keys()


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_a_query_asks_for_metrics_that_exist(expr):
    assert metrics_in(expr) <= SHOWN.keys() | FOREIGN
    assert metrics_in(expr)


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_a_query_chooses_by_labels_and_values_that_exist(expr):
    for name, label, _operator, value in matchers(expr):
        if name not in SHOWN or label in FROM_SCRAPING:
            continue
        assert label in SHOWN[name].labels
        known = SHOWN[name].labels[label]
        if known:
            assert set(value.split("|")) <= set(known)


def test_nothing_foreign_is_listed_that_nobody_asks_for():
    assert {name for expr in EXPRESSIONS for name in metrics_in(expr)} >= FOREIGN | NEEDS_GPU


def test_prometheus_can_read_every_query(tmp_path):
    """promtool takes them as recording rules, each for itself."""
    rules = [
        {"record": f"query:{number}", "expr": filled_in(expr)}
        for number, (_, _, expr) in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    command = [need("promtool"), "check", "rules", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_queries_use_no_variable_that_is_not_there():
    for board in boards():
        named = {f"${variable['name']}" for variable in board["templating"]["list"]}
        grafanas = {"$__rate_interval", "$__range"}
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                used = set(re.findall(r"\$\w+", target["expr"]))
                assert used <= named | grafanas
                assert used <= VARIABLES.keys()


def test_variables_look_for_metrics_that_exist():
    for board in boards():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                assert metrics_in(variable["query"]["query"]) <= SHOWN.keys() | FOREIGN


def test_legends_name_labels_that_the_query_leaves():
    for panel in panels():
        for target in panel["targets"]:
            left = {
                label.strip()
                for labels in re.findall(r"by \(([^)]*)\)", target["expr"])
                for label in labels.split(",")
            }
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= left


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows(panel):
    assert panel["title"]
    assert re.fullmatch(r"[A-Z0-9].*\.", panel["description"], re.DOTALL)
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"]["uid"] == "$datasource"
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "$datasource"
        assert target["legendFormat"]


@pytest.mark.parametrize("board", boards(), ids=lambda board: board["uid"])
def test_panels_fill_the_width_and_none_lies_on_another(board):
    taken = {}
    for panel in board["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, panel["title"]
                taken[x, y] = panel["title"]
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height


def test_ids_are_unique():
    assert len({board["uid"] for board in boards()}) == len(FILES)
    for board in boards():
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)


def test_grafana_finds_prometheus_and_the_dashboards():
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    assert source["url"] == "${PROMETHEUS_URL}"
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/seedsweep.yaml").read_text())[
        "providers"
    ]
    assert provider["folder"] == "seedsweep"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
