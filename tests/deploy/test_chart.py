"""The Helm chart: Helm and Kubernetes accept it, and it refuses what cannot work."""

import importlib
import json
import os
import re
from functools import cache

import helm_python
import kubernetes_validate
import pytest
import typer
import yaml
from kubernetes_validate import utils as validation

from seedsweep.cli.main import app
from tests.support.charts import (
    BASE,
    CHART,
    CUSTOM,
    DEPLOY,
    KEDA,
    NEWEST,
    OLDEST,
    SETS,
    WITHOUT_SECRET,
    chart,
    each_set,
    merged,
    of_kind,
    ray_templates,
    render,
    rendered,
)


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once():
    """The validator reads its schemas anew for each resource: megabytes, and always the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "schema_contents", cache(validation.schema_contents))
        yield


# What the chart is made of.


def test_lint_finds_nothing():
    for values in SETS.values():
        report = helm_python.lint(CHART, merged(BASE, values), strict=True)
        assert report["errors"] == []
        assert [m for m in report["messages"] if m["severity"] > 1] == []


@each_set
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(name, version):
    for resource in rendered(name):
        if resource["kind"] not in CUSTOM:
            kubernetes_validate.validate(resource, version, strict=True)


def test_kubernetes_knows_every_field_of_the_pods_of_ray():
    for name in ("defaults", "everything"):
        (cluster,) = of_kind(rendered(name), "RayCluster")
        for pod in ray_templates("ray", cluster["spec"]).values():
            template = {"apiVersion": "v1", "kind": "PodTemplate", "template": pod}
            kubernetes_validate.validate(template, OLDEST, strict=True)


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("ScaledObject", "cloudcoil.models.keda.v1alpha1"),
        ("ServiceMonitor", "cloudcoil.models.prometheus_operator.v1"),
        ("PodMonitor", "cloudcoil.models.prometheus_operator.v1"),
        ("PrometheusRule", "cloudcoil.models.prometheus_operator.v1"),
    ],
)
def test_the_operators_know_every_field(kind, module):
    model = getattr(need_module(module), kind)
    resources = [found for name in SETS for found in of_kind(rendered(name), kind)]
    assert resources
    for resource in resources:
        # What the model does not know it leaves out.
        understood = model.model_validate(resource)
        assert understood.model_dump(by_alias=True, exclude_unset=True, mode="json") == resource


def need_module(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        message = f"{name} is not installed; PyPI has it, with dashes for dots and underscores."
        if os.environ.get("SEEDSWEEP_REQUIRE_TOOLS"):
            pytest.fail(message)
        pytest.skip(message)


def test_the_chart_carries_the_alerts_and_dashboards_of_deploy():
    carried = {found["name"]: found["data"] for found in chart().files}
    assert carried["files/alerts.yml"] == (DEPLOY / "prometheus" / "alerts.yml").read_text()
    dashboards = {f"files/dashboards/{p.name}": p for p in (DEPLOY / "grafana").rglob("*.json")}
    assert len(dashboards) > 1
    for name, path in dashboards.items():
        assert carried[name] == path.read_text()


def test_a_packaged_chart_carries_them_too(tmp_path):
    with helm_python.Chart.load(helm_python.package(CHART, destination=tmp_path)) as packaged:
        here = {f["name"]: f["data"] for f in chart().files if f["name"].startswith("files/")}
        there = {f["name"]: f["data"] for f in packaged.files if f["name"].startswith("files/")}
    assert here
    assert there == here


def test_what_is_in_braces_in_alerts_and_dashboards_is_left_for_prometheus_and_grafana():
    resources = rendered("watched")
    (rule,) = of_kind(resources, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    shown = {}
    for found in of_kind(resources, "ConfigMap"):
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
        shown |= {name: json.loads(text) for name, text in found["data"].items()}
    written = {p.name: json.loads(p.read_text()) for p in (DEPLOY / "grafana").rglob("*.json")}
    assert shown == written


def test_alerts_link_to_where_the_runbooks_are():
    where = "https://wiki.example/seedsweep/operations"
    (rule,) = of_kind(render({"monitoring": {"rules": True, "runbooks": where}}), "PrometheusRule")
    linked = {
        one["alert"]: one["annotations"].pop("runbook_url")
        for group in rule["spec"]["groups"]
        for one in group["rules"]
    }
    assert linked == {alert: f"{where}#{alert.lower()}" for alert in linked}
    written = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    for group in written["groups"]:
        for one in group["rules"]:
            del one["annotations"]["runbook_url"]
    assert rule["spec"] == written


def test_every_value_is_in_the_schema():
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path, _ in leaves(chart().values):
        described(schema, path)


def leaves(values, path=()):
    for key, value in values.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) else [((*path, key), 0)]


def described(schema, path):
    """The schema of a value; fails where there is none."""
    found = schema
    for key in path:
        if "$ref" in found:
            found = schema["definitions"][found["$ref"].rpartition("/")[2]]
        found = found.get("properties", {}).get(key) or found["additionalProperties"]
        assert found, path
    return found


# What it refuses.


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"existingSecret": {"name": ""}}, "existingSecret.name is empty"),
        (
            merged(WITHOUT_SECRET, {"store": {"credentials": "secret"}}),
            "set store.credentials to serviceAccount",
        ),
        (merged(WITHOUT_SECRET, {"ray": {"enabled": True}}), "set ray.enabled to false"),
        (merged(WITHOUT_SECRET, {"broker": {"url": ""}}), "or broker.url for a broker without"),
        ({"image": {"repository": ""}}, "image.repository is empty"),
        ({"store": {"url": ""}}, "store.url is empty"),
        ({"store": {"url": "file:/data"}}, "store.existingClaim"),
        ({"monitoring": {"serviceMonitors": True, "podMonitors": True}}, "scrape every pod twice"),
        ({"analyst": {"actors": 5}}, "5 actors and Ray's nodes have 4 CPUs"),
        ({"analyst": {"device": "cuda"}}, "ray.worker.gpus"),
        (KEDA | {"monitoring": {}}, "worker.pools.gpu scales by what Prometheus says"),
        (
            merged(KEDA, {"worker": {"defaults": {"terminationGracePeriodSeconds": 2000}}}),
            "at least its terminationGracePeriodSeconds, 2000",
        ),
        (
            merged(KEDA, {"worker": {"pools": {"gpu": {"autoscaling": {"minReplicas": 9}}}}}),
            "minReplicas above maxReplicas",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(values, says):
    with pytest.raises(helm_python.HelmRenderError) as raised:
        render(values)
    sentence = str(raised.value).partition("): ")[2]
    assert says in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "values",
    [
        {"workers": {}},
        {"worker": {"pools": {"gpu": {"gpus": 2}}}},
        {"worker": {"pools": {"a-name-longer-than-15": {}}}},
        {"worker": {"defaults": {"device": "cuda:1"}}},
        {"scheduler": {"replicas": "two"}},
        {"image": {"tag": "latest"}},
        {"image": {"repository": "registry.example/seedsweep:latest"}},
        {"image": {"digest": "sha256:abc"}},
        {"podSecurity": {"runAsUser": 0}},
        {"store": {"url": "s3://key:secret@host/bucket"}},
        {"store": {"url": "gcs://bucket"}},
        {"existingSecret": {"brokerUrl": "redis://:password@host"}},
        {"broker": {"url": "redis://:password@host"}},
        {"store": {"credentials": "none"}},
        {"ray": {"sharedMemory": "much"}},
        {"podLabels": {"app.kubernetes.io/component": "worker"}},
        {"podLabels": {"ray.io/cluster": "another"}},
        {"podLabels": {"number": 1}},
        {"podAnnotations": {"seedsweep/device": "cpu"}},
        {"extraVolumes": [{"emptyDir": {}}]},
        {"extraVolumes": [{"name": "cache", "emptyDir": {}}]},
        {"extraVolumeMounts": [{"name": "scratch", "mountPath": "scratch"}]},
        {"scheduler": {"topologySpreadConstraints": [{"maxSkew": 1}]}},
        {"monitoring": {"runbooks": "docs/operations.md"}},
        {"monitoring": {"deployment": "a b"}},
        {"worker": {"defaults": {"autoscaling": {"scaleDownStabilisationSeconds": 3601}}}},
    ],
)
def test_a_value_that_is_unknown_or_makes_no_sense_is_refused(values):
    with pytest.raises(helm_python.HelmValuesError, match="schema"):
        render(values)


# What people see.


def test_the_notes_name_what_exists():
    files = chart().render(BASE, name="demo", namespace="audits")
    notes = files["seedsweep/templates/NOTES.txt"]
    deployments = {d["metadata"]["name"] for d in of_kind(rendered("defaults"), "Deployment")}
    commands = typer.main.get_command(app).commands
    assert set(re.findall(r"deploy/(\S+)", notes)) <= deployments
    assert set(re.findall(r"(?m)(?:--|^ ) seedsweep (\w+)", notes)) <= commands.keys()
    assert "helm test demo" in notes


def test_helm_test_asks_the_doctor():
    (pod,) = of_kind(rendered("defaults"), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["containers"][0]["args"] == ["doctor"]
