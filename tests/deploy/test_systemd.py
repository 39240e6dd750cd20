"""The systemd units: systemd accepts them, they are tight, and the services live with that."""

import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from seedsweep.cli.main import app
from seedsweep.storage.ledger import Ledger
from tests.support.checkout import ROOT
from tests.support.deployment import Deployment, write_campaign
from tests.support.servers import wait_until
from tests.support.tools import need

UNITS = ROOT / "deploy/systemd"
COMMON = UNITS / "seedsweep-.service.d/common.conf"
SERVICES = ["seedsweep-scheduler.service", "seedsweep-analyst.service", "seedsweep-worker@.service"]
SYSTEM_UNITS = Path("/lib/systemd/system")
WORST_EXPOSURE = 2.0
GRACE = {"seedsweep-analyst.service": 900, "seedsweep-worker@.service": 900}


def settings(*files):
    """`[Service]` of some files as systemd reads it: name → its values, in order."""
    found = {}
    for file in files:
        section = ""
        for line in file.read_text().splitlines():
            if line.startswith("["):
                section = line
            elif section == "[Service]" and "=" in line and not line.startswith("#"):
                name, _, value = line.partition("=")
                found.setdefault(name, []).append(value)
    return found


def service(name):
    return settings(UNITS / name, COMMON)


@pytest.fixture
def host(tmp_path):
    """The root folder of a machine on which the units and an executable are installed."""
    installed = tmp_path / "etc/systemd/system"
    shutil.copytree(UNITS, installed)
    for target in SYSTEM_UNITS.glob("*.target"):
        shutil.copy(target, installed)
    executable = tmp_path / "opt/seedsweep/bin/seedsweep"
    executable.parent.mkdir(parents=True)
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    return tmp_path


def analyze(*arguments):
    command = [need("systemd-analyze"), *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return finished.returncode, finished.stdout + finished.stderr


def instance(name):
    return name.replace("@.", "@0.")


@pytest.mark.parametrize("name", ["seedsweep.target", *SERVICES])
def test_systemd_accepts_every_unit(host, name):
    assert verify(host, name) == (0, "")


def test_systemd_would_see_a_mistake(host):
    unit = host / "etc/systemd/system/seedsweep-scheduler.service"
    unit.write_text(unit.read_text().replace("RestartSec=10", "RestartSecs=10"))
    assert "RestartSecs" in verify(host, unit.name)[1]
    (host / "opt/seedsweep/bin/seedsweep").unlink()
    assert "seedsweep is not executable" in verify(host, unit.name)[1]


def verify(host, name):
    options = ("--man=no", "--generators=no", f"--root={host}")
    return analyze("verify", *options, instance(name))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(host, name):
    options = ("--offline=true", f"--root={host}", f"--threshold={WORST_EXPOSURE * 10:.0f}")
    code, report = analyze("security", "--no-pager", *options, instance(name))
    assert code == 0, report


@pytest.mark.parametrize("name", SERVICES)
def test_every_command_is_one_of_ours(name):
    (command,) = service(name)["ExecStart"]
    defaults = dict(re.findall(r"(\w+)=(\S+)", " ".join(service(name)["Environment"])))
    command = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], command)
    program, ours, *arguments = shlex.split(command.replace("%i", "0"))
    assert program == "/opt/seedsweep/bin/seedsweep"
    known = typer.main.get_command(app).commands[ours]
    assert known.make_context(ours, arguments, resilient_parsing=False).params["metrics_host"]


@pytest.mark.parametrize("name", SERVICES)
def test_settings_come_from_one_file_that_has_to_exist(name):
    assert service(name)["EnvironmentFile"] == ["/etc/seedsweep/seedsweep.env"]


def test_no_file_holds_a_secret():
    for file in (file for file in UNITS.rglob("*") if file.is_file()):
        assert not re.search(
            r"(PASSWORD|SECRET\w*|KEY\w*|_URL) *=[^\S\n]*[^\s`]", file.read_text()
        ), file


def test_the_example_names_what_the_readme_names_and_gives_no_values():
    lines = (UNITS / "seedsweep.env.example").read_text().splitlines()
    names = [line.lstrip("#") for line in lines if re.fullmatch(r"#?[A-Z_]+=.*", line)]
    assert all(name.endswith("=") for name in names)
    assert {
        "SEEDSWEEP_BROKER_URL=",
        "SEEDSWEEP_STORE_URL=",
        "AWS_ACCESS_KEY_ID=",
        "AWS_SECRET_ACCESS_KEY=",
    } <= {*names}


@pytest.mark.parametrize("name", SERVICES)
def test_stopping_lets_what_is_in_hand_be_finished(name):
    found = service(name)
    assert (found["KillSignal"], found["KillMode"]) == (["SIGTERM"], ["mixed"])
    assert found["SuccessExitStatus"] == ["143"]
    assert int(found["TimeoutStopSec"][0]) >= GRACE.get(name, 60)


@pytest.mark.parametrize("name", SERVICES)
def test_a_crash_is_mended_and_a_wrong_setting_is_not_retried(name):
    found = service(name)
    assert found["Restart"] == ["on-failure"]
    assert found["RestartPreventExitStatus"] == ["2"]


def test_a_worker_sees_its_gpu_and_no_other_device():
    found = service("seedsweep-worker@.service")
    assert found["DevicePolicy"] == ["closed"]
    assert found["DeviceAllow"] == ["char-nvidia* rw"]
    assert "PrivateDevices" not in found


def test_the_user_is_made_without_a_login(tmp_path):
    file = UNITS / "seedsweep.sysusers.conf"
    (tmp_path / "etc").mkdir()
    command = [need("systemd-sysusers"), f"--root={tmp_path}", str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (user,) = (tmp_path / "etc/passwd").read_text().splitlines()
    assert user.startswith("seedsweep:")
    assert user.endswith(":/var/lib/seedsweep:/usr/sbin/nologin")
    assert stat.S_IMODE(file.stat().st_mode) & stat.S_IWOTH == 0


class Confined(Deployment):
    """Its services run under what their units forbid."""

    def start(self, name, *arguments):
        unit = next(unit for unit in SERVICES if f"-{arguments[0]}" in unit)
        file = self.folder / f"{unit}.json"
        file.write_text(json.dumps(service(unit)))
        wrapper = [sys.executable, str(ROOT / "tests/support/confine.py"), str(file)]
        self._start(name, [*wrapper, sys.executable, "-m", "seedsweep.cli", *arguments])


def test_a_campaign_is_done_by_services_confined_as_the_units_say(tmp_path):
    need("systemd-analyze")
    with Confined(tmp_path) as deployment:
        deployment.create_bucket()
        deployment.start_services(workers=1)
        campaign_id = deployment.submit(write_campaign(tmp_path, "confined", 40))
        services = [deployment.services[name] for name in ("scheduler", "analyst", "worker-0")]
        ledger = Ledger(deployment.broker_url)

        def is_settled():
            assert all(service.is_running for service in services), deployment.logs()
            return (counts := ledger.counts(campaign_id)) and counts.settled

        wait_until(is_settled, timeout=240)
        assert deployment.status(campaign_id)["state"] == "done"
        for each in services:
            status = Path(f"/proc/{each.pid}/status").read_text()
            assert "Seccomp:\t2" in status
            assert "CapBnd:\t0000000000000000" in status
            assert each.stop() == 0, each.said
