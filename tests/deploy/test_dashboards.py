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
from deploy.grafana.panels import _thresholds, of_the_deployment
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
FROM_SCRAPING = {"deployment", "job", "instance", "worker", "host", "device", "le"}
RATES = {f"suffix:{what}/s" for what in ("images", "prompts", "units")}
UNITS = {"short", "s", "reqps", "bytes", "Bps", "percentunit", "percent"} | RATES
NEITHER_GOOD_NOR_BAD = {
    # How much there is to do, what is done, and by whom.
    *("Progress", "Units", "Images", "Prompts analysed", "Units by state", "Units remaining"),
    *(
        "Time left",
        "Cost",
        "Devices at work",
        "Window",
        "Units in hand",
        "Waiting",
        "Prompts that wait",
    ),
    *("Prompts that wait for analysis", "Prompts analysed and flagged", "Wait in the queue"),
    *(
        "Who leads",
        "Versions",
        "Ray actors",
        "Actors",
        "Connections",
        "Units by outcome",
        "Flagged",
        "Spared",
    ),
    # What a good pace is depends on model, devices and images.
    *("Images a second", "Prompts a second", "Seconds a unit", "Seconds to make a unit"),
    *("Images a second by worker", "Prompts a second over time", "Workers over time"),
    *("Images decoded", "Pairs pruned", "Model switches by worker"),
    *("Seconds a prompt", "Actors by step", "What the time goes to", "Model switches"),
    *("Images found in the store", "What descriptors spare", "Read from the store", "Bytes"),
    *("Store requests", "Object store", "Ray CPU", "Process CPU", "Process memory", "GPU memory"),
    # Figures that are one of several services' or workers' and have none missing.
    *("Broker memory", "Ray memory", "Workers"),
}


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


def bounds_of(panel):
    """From which values on a panel or one of its queries has another colour."""
    overrides = panel["fieldConfig"].get("overrides", [])
    own = [p["value"] for o in overrides for p in o["properties"] if p["id"] == "thresholds"]
    found = [panel["fieldConfig"]["defaults"].get("thresholds", {"steps": []}), *own]
    return [step["value"] for each in found for step in each["steps"] if step["value"] is not None]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_that_has_a_good_and_a_bad_shows_where_bad_begins(panel):
    assert bounds_of(panel) or panel["title"] in NEITHER_GOOD_NOR_BAD


def colour(title, query, value):
    """How a figure of the dashboard *services* is drawn that its query makes so large."""
    board = json.loads((ROOT / DASHBOARDS / "services.json").read_text())
    (panel,) = (p for p in board["panels"] if p["title"] == title and p["type"] == "stat")
    (name,) = (t["refId"] for t in panel["targets"] if query in t["expr"])
    (own,) = (o for o in panel["fieldConfig"]["overrides"] if o["matcher"]["options"] == name)
    (thresholds,) = (p["value"] for p in own["properties"] if p["id"] == "thresholds")
    passed = [s for s in thresholds["steps"] if s["value"] is None or s["value"] <= value]
    return passed[-1]["color"]


@pytest.mark.parametrize(
    ("title", "query", "bad", "good"),
    [
        ("Services that answer", "seedsweep-analyst", 0, 2),
        ("Services that answer", "sum(1 - up", 1, 0),
        ("Who leads", "max(seedsweep_scheduler_leading", 0, 1),
        ("Workers", "seedsweep_workers_live", 0, 1),
        ("Broker", "seedsweep_broker_answers", 0, 1),
    ],
)
def test_what_is_bad_now_is_red(title, query, bad, good):
    assert (colour(title, query, bad), colour(title, query, good)) == ("red", "green")


def test_what_is_listed_as_neither_good_nor_bad_is_there():
    assert {panel["title"] for panel in panels()} >= NEITHER_GOOD_NOR_BAD


def test_colours_go_from_good_to_bad_whichever_end_is_bad():
    idle = _thresholds((0.2, 0.5)).build().steps
    use = _thresholds((0.7, 0.3)).build().steps
    assert [(s.value, s.color) for s in idle] == [(None, "green"), (0.2, "yellow"), (0.5, "red")]
    assert [(s.value, s.color) for s in use] == [(None, "red"), (0.3, "yellow"), (0.7, "green")]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_legend_is_a_table_with_the_last_value_the_mean_and_the_highest_first(panel):
    if panel["type"] != "timeseries":
        return
    legend = panel["options"]["legend"]
    assert (legend["displayMode"], legend["calcs"]) == ("table", ["lastNotNull", "mean", "max"])
    assert (legend["sortBy"], legend["sortDesc"]) == ("Last *", True)


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_images_a_second_are_called_so(panel):
    if "image" in panel["title"].lower() and "rate(" in panel["targets"][0]["expr"]:
        assert panel["fieldConfig"]["defaults"]["unit"] in ("suffix:images/s", "percentunit")


def test_units_are_seen_by_how_long_they_took():
    (panel,) = (panel for panel in panels() if panel["type"] == "heatmap")
    (target,) = panel["targets"]
    assert target["format"] == "heatmap"
    assert (target["legendFormat"], panel["options"]["yAxis"]["unit"]) == ("{{le}}", "s")
    assert panel["options"]["calculate"] is False


@pytest.mark.parametrize("expr", [expr for _, _, expr in QUERIES])
def test_every_metric_of_a_query_is_of_the_deployment_chosen(expr):
    chosen = [name for name, label, *_ in matchers(expr) if label == "deployment"]
    asked = re.findall(r"\b(?:(?:seedsweep|ray|process)_\w+|up\b)", re.sub(r'"[^"]*"', "", expr))
    assert sorted(chosen) == sorted(asked)


@pytest.mark.parametrize(
    ("expr", "chosen"),
    [
        ("sum(up)", 'sum(up{deployment="$deployment"})'),
        ('up{job="x"} == 0', 'up{deployment="$deployment",job="x"} == 0'),
        (
            "rate(seedsweep_units_total[5m]) / process_max_fds",
            'rate(seedsweep_units_total{deployment="$deployment"}[5m]) / '
            'process_max_fds{deployment="$deployment"}',
        ),
        ("ray_node_mem_used", 'ray_node_mem_used{deployment=~"$deployment|"}'),
        ("vector(0)", "vector(0)"),
    ],
)
def test_the_deployment_is_added_to_what_an_expression_chooses(expr, chosen):
    assert of_the_deployment(expr) == chosen


@pytest.mark.parametrize("board", boards(), ids=lambda board: board["uid"])
def test_a_dashboard_shows_one_deployment_at_a_time(board):
    first, second = board["templating"]["list"][:2]
    assert (first["type"], second["name"]) == ("datasource", "deployment")
    assert not second.get("multi")
    assert not second.get("includeAll")


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


@pytest.mark.parametrize("board", boards(), ids=lambda board: board["uid"])
def test_no_two_panels_of_a_dashboard_have_one_title(board):
    titles = [panel["title"] for panel in board["panels"] if panel["type"] != "row"]
    assert len({*titles}) == len(titles)


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
