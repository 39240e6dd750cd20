"""Every alert fires when it should and not when it nearly should, and leads to a runbook."""

import re
import subprocess

import pytest
import yaml

from deploy.grafana.queries import FOREIGN, SHOWN, metrics_in
from tests.support.checkout import ROOT
from tests.support.tools import need

PROMETHEUS = ROOT / "deploy" / "prometheus"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
GROUPS = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
CASES = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]


def promtool(*arguments):
    command = [need("promtool"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fires(case):
    return any(test["exp_alerts"] for test in case["alert_rule_test"])


def cases_of(alert):
    return [c for c in CASES if {t["alertname"] for t in c["alert_rule_test"]} == {alert}]


def passes(tmp_path, alert, **changes):
    """Whether the alert passes its tests once it is changed so."""
    rule = RULES[alert] | changes
    files = {
        "alerts.yml": {"groups": [{"name": "one", "rules": [rule]}]},
        "tests.yml": {
            "rule_files": ["alerts.yml"],
            "evaluation_interval": "1m",
            "tests": cases_of(alert),
        },
    }
    for name, content in files.items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
    return promtool("test", "rules", tmp_path / "tests.yml").returncode == 0


def test_prometheus_takes_the_configuration_and_the_rules():
    config = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert config.returncode == 0, config.stdout + config.stderr
    assert f"{len(RULES)} rules found" in config.stdout


def test_every_alert_does_what_its_tests_say():
    tests = promtool("test", "rules", PROMETHEUS / "alerts_test.yml")
    assert tests.returncode == 0, tests.stdout + tests.stderr


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_is_seen_to_fire_to_wait_and_to_keep_quiet(alert):
    firing = [case for case in cases_of(alert) if fires(case)]
    quiet = [case for case in cases_of(alert) if not fires(case)]
    assert firing
    assert quiet
    assert all(any(not t["exp_alerts"] for t in case["alert_rule_test"]) for case in firing)


@pytest.mark.parametrize("alert", RULES)
def test_a_near_miss_is_about_what_the_alert_looks_at(alert):
    for case in cases_of(alert):
        given = {name for series in case["input_series"] for name in metrics_in(series["series"])}
        assert given & metrics_in(RULES[alert]["expr"])


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_that_never_or_always_fires_or_does_not_wait_fails_its_tests(alert, tmp_path):
    assert passes(tmp_path, alert)
    assert not passes(tmp_path, alert, expr="vector(1) > 1")
    assert not passes(tmp_path, alert, expr="vector(1)")
    assert not passes(tmp_path, alert, **{"for": "0s"})


@pytest.mark.parametrize("alert", [a for a, rule in RULES.items() if " and " in rule["expr"]])
def test_no_condition_of_an_alert_can_be_left_out(alert, tmp_path):
    conditions = RULES[alert]["expr"].split(" and ")
    for left_out in conditions:
        rest = " and ".join(c for c in conditions if c != left_out)
        assert not passes(tmp_path, alert, expr=rest), left_out


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(alert):
    rule = RULES[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["for"]
    for text in ("summary", "description"):
        assert re.fullmatch(r"\S.*\.", rule["annotations"][text])
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    assert (ROOT / page).read_text() == OPERATIONS
    assert anchor == alert.lower()
    assert f"### {alert}\n" in OPERATIONS


def test_the_runbook_has_no_alert_that_is_gone():
    assert set(re.findall(r"^### (Seedsweep\w+)$", OPERATIONS, re.MULTILINE)) == set(RULES)


def test_rules_ask_for_metrics_that_exist():
    asked = {name for rule in RULES.values() for name in metrics_in(rule["expr"])}
    assert asked <= SHOWN.keys() | FOREIGN


def test_the_scheduler_says_where_the_services_are():
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert [sd["url"] for sd in jobs["seedsweep"]["http_sd_configs"]] == [
        "http://scheduler:9410/targets"
    ]
    assert config["rule_files"] == ["alerts.yml"]
    assert "ray" in jobs
