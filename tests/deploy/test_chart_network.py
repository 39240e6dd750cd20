"""Who reaches and who watches whom in the Helm chart."""

import re

import pytest

from seedsweep.workers.monitoring.http_pages import ANALYST_PORT, SCHEDULER_PORT, WORKER_PORT
from seedsweep.workers.monitoring.metrics import CATALOGUE
from tests.support.charts import (
    KEDA,
    WATCHED,
    chosen,
    containers,
    each_set,
    merged,
    of_kind,
    only,
    render,
    rendered,
    templates,
)

# Who finds whom.


@each_set
def test_every_selector_finds_the_pods_it_is_meant_for(name):
    resources = rendered(name)
    for kind in ("Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment"):
        for resource in of_kind(resources, kind):
            spec = resource["spec"]
            selector = spec.get("podSelector") or spec["selector"]
            pods = chosen(selector.get("matchLabels", selector), resources)
            prefix = resource["metadata"]["name"]
            assert pods
            assert all(pod == prefix or pod.startswith(f"{prefix}-") for pod in pods)


def test_every_pod_is_behind_a_network_policy_and_all_have_different_ones():
    for name in ("defaults", "ray off", "everything"):
        resources = rendered(name)
        behind = [
            chosen(policy["spec"]["podSelector"]["matchLabels"], resources)
            for policy in of_kind(resources, "NetworkPolicy")
        ]
        assert sorted(pod for pods in behind for pod in pods) == sorted(templates(resources))


def test_only_monitoring_reaches_the_services_and_only_analysts_reach_ray():
    resources = rendered("defaults")
    peers = {"scheduler": SCHEDULER_PORT, "analyst": ANALYST_PORT, "worker": WORKER_PORT}
    for component, port in peers.items():
        policy = only(resources, "NetworkPolicy", f"demo-seedsweep-{component}")["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        (rule,) = policy["ingress"]
        labels = {"kubernetes.io/metadata.name": "monitoring"}
        assert rule["from"] == [{"namespaceSelector": {"matchLabels": labels}}]
        assert rule["ports"] == [{"port": port, "protocol": "TCP"}]
    inside, clients = only(resources, "NetworkPolicy", "demo-seedsweep-ray")["spec"]["ingress"]
    assert reached(inside["from"], resources) == {
        "demo-seedsweep-ray-head",
        "demo-seedsweep-ray-worker",
    }
    assert reached(clients["from"], resources) == {
        "demo-seedsweep-analyst",
        "demo-seedsweep-doctor",
    }
    assert clients["ports"] == [{"port": 10001, "protocol": "TCP"}]


def reached(peers, resources):
    selectors = [peer["podSelector"]["matchLabels"] for peer in peers]
    return set().union(*(chosen(selector, resources) for selector in selectors))


def test_who_may_reach_ray_may_also_leave_for_it():
    resources = rendered("defaults")
    for component in ("analyst", "doctor"):
        rules = only(resources, "NetworkPolicy", f"demo-seedsweep-{component}")["spec"]["egress"]
        (rule,) = [rule for rule in rules if {"port": 10001, "protocol": "TCP"} in rule["ports"]]
        assert reached(rule["to"], resources) == {"demo-seedsweep-ray-head"}


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("s3://bucket", 443),
        ("s3://bucket/a?endpoint=http://host:9000&region=eu", 9000),
        ("s3://bucket/a?region=eu&endpoint=https://host", 443),
        ("s3://bucket/a?endpoint=http://host/", 80),
        ("s3://bucket/a?endpoint=https://host:8443/", 8443),
        ("gs://bucket/a", 443),
        ("az://container/a?account=ours", 443),
    ],
)
def test_the_store_is_reached_at_the_port_in_its_url(url, port):
    policy = only(render({"store": {"url": url}}), "NetworkPolicy", "demo-seedsweep-worker")
    reachable = {rule["ports"][0]["port"] for rule in policy["spec"]["egress"]}
    assert reachable == {53, port, 6379}


def test_who_gives_the_pods_their_role_is_reached_only_if_wanted():
    agents = {"169.254.169.254/32", "169.254.170.23/32", "fd00:ec2::23/128"}

    def allowed(resources):
        rules = only(resources, "NetworkPolicy", "demo-seedsweep-worker")["spec"]["egress"]
        peers = [peer for rule in rules for peer in rule.get("to", [])]
        return {peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer}, rules

    found, rules = allowed(rendered("without a secret"))
    assert found == agents
    assert {"ports": [{"port": 443, "protocol": "TCP"}]} in rules  # the token service
    assert allowed(rendered("defaults"))[0] == set()


def test_the_hub_is_reached_by_workers_alone_and_only_if_wanted():
    offline = {"name": "HF_HUB_OFFLINE", "value": "1"}
    assert all(offline in container["env"] for _, container in containers(rendered("defaults")))
    resources = rendered("everything")
    assert not any(offline in container["env"] for _, container in containers(resources))
    anywhere = {"ports": [{"port": 443, "protocol": "TCP"}]}
    policies = of_kind(resources, "NetworkPolicy")
    open_ones = [p["metadata"]["name"] for p in policies if anywhere in p["spec"]["egress"]]
    assert open_ones == ["demo-seedsweep-worker"]


def test_the_analyst_joins_ray_as_a_client_with_the_token_that_all_nodes_ask_for():
    resources = rendered("defaults")
    (cluster,) = of_kind(resources, "RayCluster")
    # KubeRay calls the head's service so.
    service = f"{cluster['metadata']['name']}-head-svc.audits.svc"
    by_pod = {pod: {v["name"]: v for v in c["env"]} for pod, c in containers(resources)}
    for pod in ("demo-seedsweep-analyst", "demo-seedsweep-doctor"):
        assert by_pod[pod]["SEEDSWEEP_RAY_ADDRESS"]["value"] == f"ray://{service}:10001"
    members = [pod for pod in by_pod if "ray" in pod or pod in ("demo-seedsweep-analyst",)]
    assert len(members) == 3
    for pod in members:
        assert by_pod[pod]["RAY_AUTH_MODE"]["value"] == "token"
        assert by_pod[pod]["RAY_AUTH_TOKEN"] == by_pod[members[0]]["RAY_AUTH_TOKEN"]
    nodes = [pod for pod in by_pod if "-ray-" in pod]
    assert not any("SEEDSWEEP_BROKER_URL" in by_pod[pod] for pod in nodes)
    assert all("AWS_SECRET_ACCESS_KEY" in by_pod[pod] for pod in nodes)


def test_rays_head_has_no_room_for_actors_and_its_nodes_have_the_cpus_they_ask_for():
    (cluster,) = of_kind(rendered("defaults"), "RayCluster")
    head, (group,) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert cluster["apiVersion"] == "ray.io/v1"
    assert cluster["spec"].keys() == {"headGroupSpec", "workerGroupSpecs"}
    assert head.keys() == {"rayStartParams", "template"}
    sizes = {"replicas", "minReplicas", "maxReplicas"}
    assert group.keys() == {"groupName", "rayStartParams", "template"} | sizes
    assert head["rayStartParams"]["num-cpus"] == "0"
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == int(group["rayStartParams"]["num-cpus"])
    assert group["minReplicas"] == group["replicas"] == group["maxReplicas"] == 2
    assert all(
        isinstance(value, str)
        for part in (head, group)
        for value in part["rayStartParams"].values()
    )


def test_without_a_cluster_the_analyst_has_a_ray_of_its_own():
    resources = rendered("ray off")
    assert of_kind(resources, "RayCluster") == []
    variables = {v["name"] for _, c in containers(resources) for v in c["env"]}
    assert not {"SEEDSWEEP_RAY_ADDRESS", "RAY_AUTH_TOKEN"} & variables
    both = {"ray": {"enabled": False}, "analyst": {"device": "cuda"}}
    (container,) = templates(render(both))["demo-seedsweep-analyst"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_a_folder_store_is_mounted_at_its_path_wherever_the_store_is_read():
    for pod, container in containers(rendered("folder")):
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert mounts["/shared/seedsweep"] == "store"
        volumes = {v["name"]: v for v in templates(rendered("folder"))[pod]["spec"]["volumes"]}
        assert volumes["store"]["persistentVolumeClaim"]["claimName"] == "shared"
        assert not any(v["name"].startswith("AWS_") for v in container["env"])


def test_the_authorities_of_the_ca_bundle_are_where_they_are_looked_for():
    for _, container in containers(rendered("everything")):
        variables = {v["name"]: v.get("value") for v in container["env"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert variables["SSL_CERT_FILE"] == f"{mounts['ca']}/ca.pem"


# What is watched.


def test_every_metric_in_the_queries_is_one_of_ours():
    scaled = of_kind(rendered("keda"), "ScaledObject")
    queries = [t["metadata"]["query"] for s in scaled for t in s["spec"]["triggers"]]
    (rule,) = of_kind(rendered("watched"), "PrometheusRule")
    queries += [r["expr"] for group in rule["spec"]["groups"] for r in group["rules"]]
    named = {word for query in queries for word in re.findall(r"\bseedsweep_\w+", query)}
    assert "seedsweep_units_remaining" in named
    for word in named - CATALOGUE.keys():
        stem = re.sub("_(bucket|count|sum)$", "", word)
        assert CATALOGUE[stem].kind == "histogram"


def test_pods_can_be_scraped_without_services_and_get_the_same_labels_under_another_name():
    by_service, by_pod = render(WATCHED), rendered("watched by pods")
    assert of_kind(by_pod, "ServiceMonitor") == of_kind(by_service, "PodMonitor") == []
    for component in ("scheduler", "analyst", "worker"):
        name = f"demo-seedsweep-{component}"
        service = only(by_service, "ServiceMonitor", name)["spec"]
        pod = only(by_pod, "PodMonitor", name)["spec"]
        wanted = pod["selector"]["matchLabels"]
        assert chosen(wanted, by_pod) == {n for n in templates(by_pod) if n.startswith(name)}
        (endpoint,), (expected,) = pod["podMetricsEndpoints"], service["endpoints"]
        named = {"targetLabel": "deployment", "replacement": "audits/demo-seedsweep"}
        assert named in expected["relabelings"]
        expected["relabelings"][expected["relabelings"].index(named)] = named | {
            "replacement": "blue"
        }
        assert endpoint == expected


def test_workers_are_scaled_by_what_remains_in_their_own_deployment():
    values = {"monitoring": {"deployment": "blue"}}
    for wanted, resources in (
        ("audits/demo-seedsweep", rendered("keda")),
        ("blue", render(merged(KEDA, values))),
    ):
        (scaled,) = of_kind(resources, "ScaledObject")
        (trigger,) = scaled["spec"]["triggers"]
        query = f'sum(seedsweep_units_remaining{{deployment="{wanted}"}})'
        assert trigger["metadata"]["query"] == query


def test_scraped_metrics_get_the_labels_that_dashboards_go_by():
    resources = rendered("watched")
    services = of_kind(resources, "Service")
    for component in ("scheduler", "analyst", "worker"):
        monitor = only(resources, "ServiceMonitor", f"demo-seedsweep-{component}")["spec"]
        wanted = monitor["selector"]["matchLabels"].items()
        found = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        assert [s["metadata"]["name"] for s in found] == [f"demo-seedsweep-{component}"]
        (endpoint,) = monitor["endpoints"]
        assert endpoint["port"] in {port["name"] for port in found[0]["spec"]["ports"]}
        labels = {rule["targetLabel"]: rule for rule in endpoint["relabelings"]}
        assert labels["job"]["replacement"] == f"seedsweep-{component}"
        assert set(labels) - {"job", "deployment"} == (
            {"worker", "host", "device"} if component == "worker" else set()
        )


def test_a_worker_is_called_after_its_pod_and_tells_its_device():
    pod = templates(rendered("watched"))["demo-seedsweep-worker-gpu"]
    (container,) = pod["spec"]["containers"]
    assert "--name=$(POD_NAME)" in container["args"]
    (variable,) = [v for v in container["env"] if v["name"] == "POD_NAME"]
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    monitor = only(rendered("watched"), "ServiceMonitor", "demo-seedsweep-worker")["spec"]
    labels = {r["targetLabel"]: r for r in monitor["endpoints"][0]["relabelings"]}
    (source,) = labels["device"]["sourceLabels"]
    annotations = {
        f"__meta_kubernetes_pod_annotation_{re.sub('[^a-zA-Z0-9_]', '_', name)}": value
        for name, value in pod["metadata"]["annotations"].items()
    }
    assert annotations[source] == "cuda:0"
