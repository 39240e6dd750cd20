"""The Slurm script: what it asks Slurm for, and how a worker begins and ends in it.

seedsweep, scontrol and sleep are stand-ins here; test_slurm_cluster.py has a real Slurm.
"""

import os
import re
import signal
import stat
import subprocess
import sys

import pytest

from tests.support.checkout import ROOT
from tests.support.servers import wait_until
from tests.support.tools import need

SCRIPT = ROOT / "deploy/slurm/seedsweep-workers.sbatch"

WORKER = """#!{python}
import os, signal, sys, time
from pathlib import Path
here = Path({folder!r})
if sys.argv[1] == "status":
    print((here / "campaigns").read_text())
    sys.exit()
def note(name, text):
    with (here / name).open("a") as file:
        file.write(text + "\\n")
signal.signal(signal.SIGTERM, lambda *_: note("signals", "TERM"))
(here / "pid").write_text(str(os.getpid()))
(here / "password").write_text(os.environ["AWS_SECRET_ACCESS_KEY"])
note("started", " ".join(sys.argv[1:]))
while not (here / "end").exists():
    time.sleep(0.01)
sys.exit(int((here / "end").read_text()))
"""
SCONTROL = '#!/bin/sh\necho "$@" >> {folder}/scontrol\n'
SLEEP = "#!/bin/sh\nuntil [ -e {folder}/slept ]; do /bin/sleep 0.01; done\n/bin/sleep 0.05\n"
SECRET = """it's $HOME "and" `more`; & all = that"""  # noqa: S105
RUNNING, DONE = '[{"state": "done"}, {"state": "running"}]', '[{"state": "done"}]'


class Element:
    """One element of the array, run as Slurm's batch step would."""

    def __init__(self, folder):
        self.folder, self.process, self.seconds = folder, None, 0
        self.env_file = folder / "seedsweep.env"
        self.write("seedsweep.env", f"# secrets\n\nAWS_SECRET_ACCESS_KEY={SECRET}\n").chmod(0o600)
        self.write("campaigns", RUNNING)
        (folder / "bin").mkdir()
        for name, text in (("seedsweep", WORKER), ("scontrol", SCONTROL), ("sleep", SLEEP)):
            file = self.write(f"bin/{name}", text.replace("{python}", sys.executable))
            file.write_text(file.read_text().replace("{folder!r}", repr(str(folder))))
            file.write_text(file.read_text().replace("{folder}", str(folder)))
            file.chmod(0o755)

    def write(self, name, text):
        # Renamed, as its readers wait for it to exist.
        unfinished = self.folder / "unfinished"
        unfinished.write_text(text)
        return unfinished.rename(self.folder / name)

    def lines(self, name):
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def start(self, *options):
        slurm = {"SLURM_JOB_ID": "70", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}
        self.process = subprocess.Popen(
            ["bash", str(SCRIPT), *options],  # noqa: S607
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "SEEDSWEEP_ENV_FILE": str(self.env_file),
                "SECONDS": str(self.seconds),  # bash counts on from there
                **slurm,
            },
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_worker(self, *options):
        self.start(*options)
        wait_until(lambda: self.lines("started"))

    def end(self):
        """Wait for it; returns its exit code and what it said."""
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said

    def end_worker(self, code=0):
        self.write("end", str(code))
        return self.end()


@pytest.fixture
def element(tmp_path):
    made = Element(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        made.end_worker()


def asked():
    """What the script asks Slurm for: option → value."""
    lines = re.findall(r"^#SBATCH --(\S+?)(?:=(\S+))?$", SCRIPT.read_text(), re.MULTILINE)
    assert len(lines) == SCRIPT.read_text().count("#SBATCH")
    return dict(lines)


def test_bash_and_shellcheck_find_nothing():
    subprocess.run([need("bash"), "-n", str(SCRIPT)], check=True)
    subprocess.run([need("shellcheck"), str(SCRIPT)], check=True)


def test_an_element_is_warned_before_its_time_is_over_and_may_be_queued_again():
    options = asked()
    assert "requeue" in options
    how, seconds = options["signal"].split("@")
    assert how == "B:USR1"
    assert int(seconds) >= 900
    assert options["open-mode"] == "append"
    assert options["output"].endswith("%A_%a.log")


def test_slurm_is_told_no_secret():
    assert asked()["export"] == "PATH,HOME,SEEDSWEEP_ENV_FILE"
    assert not re.search(r"AWS_|BROKER", SCRIPT.read_text())


def test_a_worker_serves_the_gpu_that_slurm_gave_unless_told_otherwise(element):
    element.start_worker()
    assert element.lines("started") == ["worker --metrics-host 0.0.0.0 --device cuda:0"]
    assert element.end_worker()[0] == 0


def test_options_are_passed_on(element):
    element.start_worker("--devices", "0,1")
    assert element.lines("started") == ["worker --metrics-host 0.0.0.0 --devices 0,1"]


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_secrets_are_read_and_not_run(element, quote):
    element.env_file.write_text(f"AWS_SECRET_ACCESS_KEY={quote}{SECRET}{quote}")
    element.start_worker()
    assert (element.folder / "password").read_text() == SECRET
    assert SECRET not in element.end_worker()[1]


def test_a_missing_file_is_refused(element):
    element.env_file.unlink()
    refused(element, "There is no file")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(element, mode):
    element.env_file.chmod(mode)
    assert stat.S_IMODE(element.env_file.stat().st_mode) == mode
    refused(element, f"chmod 600 {element.env_file}")


def test_a_line_that_is_no_variable_is_refused_and_not_shown(element):
    element.env_file.write_text("touch /tmp/hidden\n")
    assert "hidden" not in refused(element, "not NAME=VALUE")


def test_a_missing_program_is_refused(element):
    (element.folder / "bin/seedsweep").unlink()
    refused(element, "no seedsweep on PATH")


def refused(element, why):
    element.start()
    code, said = element.end()
    assert code == 2
    assert why in said
    assert len(said.splitlines()) == 1
    assert not element.lines("started")
    return said


def test_the_time_limit_has_the_unit_in_hand_finished_and_the_element_queued_again(element):
    element.start_worker()
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
        element.process.send_signal(number)
        wait_until(lambda: element.lines("signals"))
    assert element.process.poll() is None
    assert not element.lines("scontrol")
    assert element.end_worker()[0] == 0
    assert element.lines("signals") == ["TERM"]
    assert element.lines("scontrol") == ["requeue 70_3"]


def test_sigterm_has_the_unit_in_hand_finished_and_ends_the_element(element):
    element.start_worker()
    element.process.terminate()
    wait_until(lambda: element.lines("signals"))
    assert element.process.poll() is None
    assert element.end_worker()[0] == 0
    assert element.lines("scontrol") == []


@pytest.mark.parametrize("code", [1, 2, 3])
def test_the_exit_code_is_the_worker_s(element, code):
    element.start_worker()
    assert element.end_worker(code)[0] == code
    assert element.lines("scontrol") == []


@pytest.mark.parametrize(("code", "again"), [(0, False), (1, False), (2, False), (3, True)])
def test_a_worker_that_ended_unasked_is_queued_again_if_it_worked_before(element, code, again):
    element.seconds = 300
    element.start_worker()
    assert element.end_worker(code)[0] == code
    assert element.lines("scontrol") == ["requeue 70_3"] * again


def test_a_worker_that_dies_at_once_is_not_queued_again(element):
    element.start_worker()
    os.kill(int((element.folder / "pid").read_text()), signal.SIGKILL)
    assert element.end()[0] == 128 + signal.SIGKILL
    assert element.lines("scontrol") == []


def test_nothing_is_queued_again_once_no_campaign_wants_images(element):
    element.start_worker()
    element.write("campaigns", DONE)
    element.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: element.lines("signals"))
    assert element.end_worker()[0] == 0
    assert element.lines("scontrol") == []


def test_gpus_are_given_back_once_no_campaign_wants_images(element):
    element.start_worker()
    element.write("campaigns", DONE)
    element.write("slept", "")
    wait_until(lambda: element.lines("signals"))
    code, said = element.end_worker()
    assert code == 0
    assert "no campaign wants more" in said
    assert element.lines("signals") == ["TERM"]
    assert element.lines("scontrol") == []


def test_who_cannot_tell_stays_and_is_queued_again(element):
    element.start_worker()
    (element.folder / "campaigns").unlink()
    element.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: element.lines("signals"))
    assert element.end_worker()[0] == 0
    assert element.lines("scontrol") == ["requeue 70_3"]
