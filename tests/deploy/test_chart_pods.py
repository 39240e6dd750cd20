"""The pods of the Helm chart: what they may do, how they end, how many there are."""

import re
from pathlib import Path

import pytest
import typer

from seedsweep.cli.main import app
from seedsweep.workers.monitoring.http_pages import ANALYST_PORT, SCHEDULER_PORT, WORKER_PORT
from tests.support.charts import (
    DEPLOY,
    chart,
    chosen,
    containers,
    each_set,
    of_kind,
    only,
    render,
    rendered,
    templates,
)

# What is secret stays out.


@each_set
def test_secrets_come_by_reference_alone(name):
    secret = re.compile("PASSWORD|SECRET|TOKEN|KEY|BROKER_URL")
    for pod, container in containers(rendered(name)):
        for variable in container["env"]:
            bare = variable["name"] == "SEEDSWEEP_BROKER_URL" and "@" not in variable.get(
                "value", "@"
            )
            if secret.search(variable["name"]) and not bare:
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "credentials", pod
        said = [*container.get("command", []), *container.get("args", [])]
        assert not any("$(" in word and "POD_NAME" not in word for word in said)
    assert of_kind(rendered(name), "Secret") == []


def test_the_keys_of_the_secret_can_be_renamed():
    keys = {"brokerUrl": "k1", "s3AccessKey": "k2", "s3SecretKey": "k3", "rayToken": "k4"}
    wanted = {
        "SEEDSWEEP_BROKER_URL": "k1",
        "AWS_ACCESS_KEY_ID": "k2",
        "AWS_SECRET_ACCESS_KEY": "k3",
        "RAY_AUTH_TOKEN": "k4",
    }
    found = {}
    for _, container in containers(render({"existingSecret": {"keys": keys}})):
        for variable in container["env"]:
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                assert found.setdefault(variable["name"], reference["key"]) == reference["key"]
    assert found == wanted


def test_a_service_account_with_a_role_needs_no_secret():
    resources = rendered("without a secret")
    (account,) = of_kind(resources, "ServiceAccount")
    role = "arn:aws:iam::123456789012:role/sweeper"
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": role}
    for pod in templates(resources).values():
        assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
    for _, container in containers(resources):
        given = {variable["name"]: variable for variable in container["env"]}
        assert not any(name.startswith("AWS_") for name in given)
        assert given["SEEDSWEEP_BROKER_URL"]["value"] == "redis://broker.example:6379/0"
        assert not any("secretKeyRef" in each.get("valueFrom", {}) for each in given.values())


# What every container is.


@each_set
def test_no_container_may_do_more_than_it_needs(name):
    for _, pod in templates(rendered(name)).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec["volumes"])
    for _, container in containers(rendered(name)):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }


@each_set
def test_what_is_written_to_lies_on_a_volume(name):
    for pod, container in containers(rendered(name)):
        volumes = {v["name"] for v in templates(rendered(name))[pod]["spec"]["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) == volumes
        variables = {v["name"]: v.get("value") for v in container["env"]}
        for variable in ("HOME", "SEEDSWEEP_CACHE_DIR", "HF_HOME"):
            assert any(Path(variables[variable]).is_relative_to(path) for path in mounts), variable
        runs_ray = "ray" in container["name"] or (
            container["name"] == "analyst" and "SEEDSWEEP_RAY_ADDRESS" not in variables
        )
        if runs_ray:
            assert "/dev/shm" in mounts  # noqa: S108 - where Ray keeps its objects


@each_set
def test_every_image_is_pinned(name):
    for _, container in containers(rendered(name)):
        assert re.fullmatch(
            r"registry\.example:5000/(seedsweep|small):\d+\.\d+\.\d+(-cuda)?(@sha256:\w{64})?",
            container["image"],
        )


def test_without_a_registry_the_image_is_one_that_nodes_have():
    resources = render({"image": chart().values["image"]})
    assert {c["image"] for _, c in containers(resources)} == {
        f"seedsweep:{chart().metadata['appVersion']}"
    }


def test_all_pods_get_the_labels_annotations_and_volumes_that_are_wanted_besides():
    for name, pod in templates(rendered("everything")).items():
        metadata = pod["metadata"]
        assert metadata["labels"]["cloud/use-identity"] == "true", name
        assert metadata["labels"]["team"] == "imaging"
        assert metadata["annotations"]["sidecar/inject"] == "false"
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert volumes["scratch"]["emptyDir"] == {"sizeLimit": "1Gi"}
        (container,) = pod["spec"]["containers"]
        assert {"name": "scratch", "mountPath": "/scratch"} in container["volumeMounts"]


@pytest.mark.parametrize("name", ["defaults", "everything"])
def test_pods_are_spread_among_their_like_alone(name):
    pods = templates(rendered(name))
    spread = {}
    for pod, template in pods.items():
        for constraint in template["spec"].get("topologySpreadConstraints", []):
            spread[pod] = constraint["labelSelector"]["matchLabels"]
    own = {pod for pod, labels in spread.items() if chosen(labels, rendered(name)) == {pod}}
    if name == "defaults":
        assert own == {"demo-seedsweep-scheduler"}
    else:
        workers = {pod for pod in pods if "-worker" in pod}
        assert own == {"demo-seedsweep-scheduler"} | workers
        assert spread["demo-seedsweep-analyst"] == {"a": "b"}


def test_an_image_of_a_services_own_does_not_get_the_digest_of_the_common_one():
    images = {pod: container["image"] for pod, container in containers(rendered("everything"))}
    assert images["demo-seedsweep-worker-gpu"].endswith("/seedsweep:0.1.0-cuda")
    assert images["demo-seedsweep-scheduler"].endswith("/small:0.1.0")
    assert "@sha256:" in images["demo-seedsweep-worker-cpu"]


def test_all_that_is_in_ray_has_one_image():
    resources = render({"analyst": {"image": {"tag": "0.1.0-ray"}}})
    images = {pod: container["image"] for pod, container in containers(resources)}
    members = {pod for pod, image in images.items() if image.endswith("-ray")}
    assert members == {
        "demo-seedsweep-analyst",
        "demo-seedsweep-doctor",
        "demo-seedsweep-ray-head",
        "demo-seedsweep-ray-worker",
    }


@each_set
def test_every_service_is_probed_where_it_answers(name):
    ports = {"scheduler": SCHEDULER_PORT, "analyst": ANALYST_PORT, "worker": WORKER_PORT}
    for pod, container in containers(rendered(name)):
        if container["name"] == "doctor":
            continue
        (first, *_) = container["ports"]
        probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
        if container["name"].startswith("ray-"):
            named = {port["name"] for port in container["ports"]}
            assert all(probe["tcpSocket"]["port"] in named for probe in probes), pod
            continue
        paths = [probe["httpGet"]["path"] for probe in probes]
        assert paths == ["/healthz", "/healthz", "/readyz"]
        assert all(probe["httpGet"]["port"] == first["name"] for probe in probes)
        assert first["containerPort"] == ports[container["name"]]
        assert f"--metrics-port={first['containerPort']}" in container["args"]


@each_set
def test_our_commands_know_every_option(name):
    commands = typer.main.get_command(app).commands
    for _, container in containers(rendered(name)):
        if container["name"].startswith("ray-"):
            continue
        assert container["command"] == ["tini", "--", "seedsweep"]
        command, *options = container["args"]
        assert commands[command].make_context(command, options).params


@each_set
def test_our_services_know_every_variable(name):
    rooms = (DEPLOY.parent / room for room in ("scheduler", "workers"))
    sources = "".join(p.read_text() for room in rooms for p in room.rglob("*.py"))
    for _, container in containers(rendered(name)):
        for variable in container["env"]:
            prefix, _, rest = variable["name"].partition("_")
            if prefix == "SEEDSWEEP":
                assert variable["name"] in sources or f"{rest.lower()}:" in sources


def test_workers_get_time_to_finish_a_unit_and_one_gpu():
    worker = templates(rendered("defaults"))["demo-seedsweep-worker-gpu"]["spec"]
    assert worker["terminationGracePeriodSeconds"] == 900
    (container,) = worker["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "--device=cuda:0" in container["args"]


def test_a_pool_on_cpus_asks_for_no_gpu_and_keeps_the_defaults_that_it_does_not_name():
    resources = rendered("cpu workers")
    assert not [r for r in of_kind(resources, "Deployment") if "gpu" in r["metadata"]["name"]]
    pool = only(resources, "Deployment", "demo-seedsweep-worker-cpu")["spec"]
    assert pool["replicas"] == 3
    assert pool["template"]["spec"]["terminationGracePeriodSeconds"] == 900
    (container,) = pool["template"]["spec"]["containers"]
    assert "--device=cpu" in container["args"]
    assert container["resources"] == {"requests": {"cpu": "4"}}


def test_a_part_of_a_gpu_goes_by_its_own_name():
    pods = templates(rendered("everything"))
    (container,) = pods["demo-seedsweep-worker-mig"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert limits["nvidia.com/mig-1g.10gb"] == 1
    assert "nvidia.com/gpu" not in limits


# How many there are.


@pytest.mark.parametrize("name", ["keda", "everything"])
def test_keda_scales_on_units_that_remain_and_nothing_else_fixes_the_number_of_pods(name):
    for scaled in of_kind(rendered(name), "ScaledObject"):
        spec = scaled["spec"]
        target = only(rendered(name), "Deployment", spec["scaleTargetRef"]["name"])
        assert "replicas" not in target["spec"]
        assert spec["minReplicaCount"] == 0
        (trigger,) = spec["triggers"]
        metadata = trigger["metadata"]
        assert re.match(r"sum\(seedsweep_units_remaining\{", metadata["query"])
        assert (metadata["threshold"], metadata["activationThreshold"]) == ("20", "0")
        assert metadata["ignoreNullValues"] == "false"
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        grace = target["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= grace


def test_without_keda_the_number_of_pods_is_fixed():
    assert of_kind(rendered("defaults"), "ScaledObject") == []
    for deployment in of_kind(rendered("defaults"), "Deployment"):
        assert deployment["spec"]["replicas"] >= 1


def test_only_what_may_be_missing_may_be_evicted():
    budgets = {
        b["metadata"]["name"]: b["spec"] for b in of_kind(rendered("keda"), "PodDisruptionBudget")
    }
    assert budgets["demo-seedsweep-scheduler"]["minAvailable"] == 1
    assert budgets["demo-seedsweep-worker-gpu"]["maxUnavailable"] == 1
    alone = render({"scheduler": {"replicas": 1}})
    # One for a single scheduler would hold up every drain.
    assert {b["metadata"]["name"] for b in of_kind(alone, "PodDisruptionBudget")} == {
        "demo-seedsweep-worker-gpu"
    }
