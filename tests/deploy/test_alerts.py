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


def verdicts(folder, *tests):
    """Whether each of these contents of a file of tests passes: one promtool tries them all."""
    names = [f"{number}.yml" for number in range(len(tests))]
    for name, content in zip(names, tests, strict=True):
        (folder / name).write_text(yaml.safe_dump({"evaluation_interval": "1m"} | content))
    command = [need("promtool"), "test", "rules", *names]
    # It says what failed on stderr, below the file's name on stdout.
    tested = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said = re.split(r"^Unit Testing: +(\S+)$", tested.stdout, flags=re.MULTILINE)
    assert said[1::2] == names, tested.stdout
    passed = ["FAILED" not in one for one in said[2::2]]
    assert passed == ["SUCCESS" in one for one in said[2::2]], tested.stdout
    assert (tested.returncode == 0) == all(passed), tested.stdout
    return passed


def changed(folder, alert, *changes):
    """Whether the alert passes its tests once it is changed in each of these ways."""
    tests = []
    for number, change in enumerate(changes):
        name = f"alerts-{number}.yml"
        rules = {"groups": [{"name": "one", "rules": [RULES[alert] | change]}]}
        (folder / name).write_text(yaml.safe_dump(rules))
        tests.append({"rule_files": [name], "tests": cases_of(alert)})
    return verdicts(folder, *tests)


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
    never, always, at_once = {"expr": "vector(1) > 1"}, {"expr": "vector(1)"}, {"for": "0s"}
    found = changed(tmp_path, alert, {}, never, always, at_once)
    assert found == [True, False, False, False]


@pytest.mark.parametrize("alert", [a for a, rule in RULES.items() if " and " in rule["expr"]])
def test_no_condition_of_an_alert_can_be_left_out(alert, tmp_path):
    conditions = RULES[alert]["expr"].split(" and ")
    rest = [" and ".join(c for c in conditions if c != left_out) for left_out in conditions]
    found = changed(tmp_path, alert, *({"expr": expression} for expression in rest))
    assert dict(zip(conditions, found, strict=True)) == dict.fromkeys(conditions, False)


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(alert):
    rule = RULES[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["for"]
    for text in ("summary", "description"):
        assert re.fullmatch(r"\S.*\.", rule["annotations"][text])
    # What Prometheus writes of it, with and without a place for runbooks, is in alerts_test.yml.
    link = f"{{{{ with $externalLabels.runbooks }}}}{{{{ . }}}}#{alert.lower()}{{{{ end }}}}"
    assert rule["annotations"]["runbook_url"] == link
    assert f"### {alert}\n" in OPERATIONS


@pytest.fixture(scope="module")
def judged_beside_another(tmp_path_factory):
    """Whether each alert does what its tests say of a deployment in trouble beside one without."""
    tests = [{"rule_files": [str(PROMETHEUS / "alerts.yml")], "tests": [both(a)]} for a in RULES]
    found = verdicts(tmp_path_factory.mktemp("deployments"), *tests)
    return dict(zip(RULES, found, strict=True))


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_judges_each_deployment_by_itself(alert, judged_beside_another):
    """One that is well never hides another one's trouble, and is never taken for it."""
    assert judged_beside_another[alert]


def both(alert):
    """The alert's case of trouble in one deployment, with the case without in another one."""
    sick = next(case for case in cases_of(alert) if fires(case))
    well = next(case for case in cases_of(alert) if not fires(case))
    return sick | {
        "input_series": [*of_deployment("sick", sick), *of_deployment("well", well)],
        "alert_rule_test": [
            test
            | {
                "exp_alerts": [
                    one | {"exp_labels": one["exp_labels"] | {"deployment": "sick"}}
                    for one in test["exp_alerts"]
                ]
            }
            for test in sick["alert_rule_test"]
        ],
    }


def of_deployment(name, case):
    """The series of a case as those of one deployment."""
    return [
        series
        | {"series": re.sub(r"\{?([^{}]*)\}?$", rf'{{deployment="{name}",\1}}', text, count=1)}
        if "{" in (text := series["series"])
        else series | {"series": f'{text}{{deployment="{name}"}}'}
        for series in case["input_series"]
    ]


def test_without_a_place_for_runbooks_an_alert_has_no_broken_link(tmp_path):
    (case,) = (c for c in CASES if c["name"].startswith("SeedsweepWorkerLost fires"))
    bare = {name: value for name, value in case.items() if name != "external_labels"}
    for test in bare["alert_rule_test"]:
        for one in test["exp_alerts"]:
            one["exp_annotations"] = one["exp_annotations"] | {"runbook_url": ""}
    tests = {"rule_files": [str(PROMETHEUS / "alerts.yml")], "tests": [bare]}
    assert verdicts(tmp_path, tests) == [True]


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
