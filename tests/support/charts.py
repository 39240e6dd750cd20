"""The Helm chart as Helm renders it, for several sets of values."""

from functools import cache

import helm_python
import pytest
import yaml

from tests.support.checkout import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "seedsweep"
OLDEST, NEWEST = "1.27", "1.34"

BASE = {
    "existingSecret": {"name": "credentials"},
    "image": {"repository": "registry.example:5000/seedsweep"},
    "store": {"url": "s3://bucket/prefix?endpoint=https://store.example:9000"},
}
KEDA = {
    "worker": {"defaults": {"autoscaling": {"enabled": True}}},
    "monitoring": {"prometheus": {"serverAddress": "http://prometheus.monitoring.svc:9090"}},
}
WATCHED = {"monitoring": {"serviceMonitors": True, "rules": True, "dashboards": True}}
APART = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "DoNotSchedule",
}
CPU_POOL = {"device": "cpu", "replicas": 3, "resources": {"requests": {"cpu": "4"}}}
EVERYTHING = {
    "commonLabels": {"team": "audits"},
    "podLabels": {"team": "imaging", "cloud/use-identity": "true"},
    "podAnnotations": {"sidecar/inject": "false"},
    "extraVolumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
    "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    "image": {"pullSecrets": ["registry"], "digest": f"sha256:{'0' * 64}"},
    "caBundle": {"configMap": "authorities"},
    "hub": True,
    "trainingSet": {"existingClaim": "training"},
    "cache": {"existingClaim": "models"},
    "extraEnv": [{"name": "SEEDSWEEP_ALLOW_PYTHON", "value": "spots:draw"}],
    "serviceAccount": {"annotations": {"cloud": "identity"}},
    "scheduler": {
        "image": {"repository": "registry.example:5000/small"},
        "priorityClassName": "high",
        "nodeSelector": {"disk": "ssd"},
    },
    "analyst": {
        "device": "cuda",
        "replicas": 2,
        "actors": 2,
        "topologySpreadConstraints": [APART | {"labelSelector": {"matchLabels": {"a": "b"}}}],
    },
    "ray": {"worker": {"gpus": 1, "topologySpreadConstraints": [APART]}},
    "worker": {
        "defaults": {
            "image": {"tag": "0.1.0-cuda"},
            "runtimeClassName": "nvidia",
            "topologySpreadConstraints": [APART],
            "autoscaling": {"enabled": True},
        },
        "pools": {
            "cpu": CPU_POOL | {"image": {}, "autoscaling": {"enabled": False}},
            "mig": {"gpuResource": "nvidia.com/mig-1g.10gb"},
        },
    },
    "monitoring": WATCHED["monitoring"]
    | {"labels": {"release": "stack"}}
    | {"prometheus": {"serverAddress": "https://metrics.example", "authenticationRef": "login"}},
    "networkPolicy": {
        "brokerPeers": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        "storePeers": [{"ipBlock": {"cidr": "10.2.0.0/16"}}],
        "monitoringNamespace": "",
    },
}
ON_A_FOLDER = {
    "store": {"url": "file:/shared/seedsweep", "existingClaim": "shared"},
    "ray": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
}
WITHOUT_SECRET = {
    "existingSecret": {"name": ""},
    "broker": {"url": "redis://broker.example:6379/0"},
    "store": {"url": "s3://bucket/prefix?region=eu-west-1", "credentials": "serviceAccount"},
    "serviceAccount": {
        "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/sweeper"}
    },
    "ray": {"enabled": False},
}
SETS = {
    "defaults": {},
    "ray off": {"ray": {"enabled": False}},
    "cpu workers": {"worker": {"pools": {"gpu": None, "cpu": CPU_POOL}}},
    "watched": WATCHED,
    "watched by pods": {"monitoring": {"podMonitors": True, "deployment": "blue"}},
    "keda": KEDA,
    "folder": ON_A_FOLDER,
    "without a secret": WITHOUT_SECRET,
    "everything": EVERYTHING,
}
CUSTOM = {"ScaledObject", "RayCluster", "ServiceMonitor", "PodMonitor", "PrometheusRule"}

each_set = pytest.mark.parametrize("name", SETS)


@cache
def chart():
    return helm_python.Chart.load(CHART)


def render(values):
    """All resources of a release with the values: its own documents, not those of notes."""
    files = chart().render(merged(BASE, values), name="demo", namespace="audits")
    texts = [text for path, text in sorted(files.items()) if path.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


@cache
def rendered(name):
    return render(SETS[name])


def merged(base, values):
    """Values over others, map by map, as Helm puts those of a user over its defaults."""
    both = {**base, **values}
    for key in base.keys() & values.keys():
        if isinstance(base[key], dict) and isinstance(values[key], dict):
            both[key] = merged(base[key], values[key])
    return both


def of_kind(resources, kind):
    return [found for found in resources if found["kind"] == kind]


def templates(resources):
    """The pods that come of the resources, as pod templates by name.

    Those of Ray get the labels that KubeRay gives, which no template can override.
    """
    found = {}
    for resource in resources:
        name = resource["metadata"]["name"]
        if resource["kind"] == "Deployment":
            found[name] = resource["spec"]["template"]
        elif resource["kind"] == "Pod":
            found[name] = {"metadata": resource["metadata"], "spec": resource["spec"]}
        elif resource["kind"] == "RayCluster":
            found |= ray_templates(name, resource["spec"])
    return found


def ray_templates(name, spec):
    head, (group,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    nodes = {"head": head["template"], "worker": group["template"]}
    return {
        f"{name}-{kind}": {
            "metadata": template["metadata"]
            | {
                "labels": template["metadata"]["labels"]
                | {"ray.io/cluster": name, "ray.io/node-type": kind}
            },
            "spec": template["spec"],
        }
        for kind, template in nodes.items()
    }


def chosen(selector, resources):
    """The names of the pods that a selector's matchLabels fit."""
    wanted = selector.items()
    pods = templates(resources).items()
    return {name for name, pod in pods if wanted <= pod["metadata"]["labels"].items()}


def containers(resources):
    pods = templates(resources).items()
    return [(name, inner) for name, pod in pods for inner in pod["spec"]["containers"]]


def only(resources, kind, name):
    (found,) = [r for r in of_kind(resources, kind) if r["metadata"]["name"] == name]
    return found
