"""The Slurm script in a real Slurm: a campaign outlives the time limit of its workers' array."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.deployment import Deployment, write_campaign
from tests.support.servers import wait_until
from tests.support.slurm import Slurm
from tests.support.tools import need

SCRIPT = ROOT / "deploy/slurm/seedsweep-workers.sbatch"
VARIABLES = [
    "SEEDSWEEP_BROKER_URL",
    "SEEDSWEEP_STORE_URL",
    "SEEDSWEEP_ALLOW_PYTHON",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "PYTHONPATH",
]
SLOW = """
import time
import numpy as np

def draw(prompt, seed, width, height):
    time.sleep(0.1)
    rng = np.random.default_rng([seed, *prompt.encode()])
    return rng.integers(256, size=(height, width, 3), dtype=np.uint8)
"""
SOON = ("--time=1", "--signal=B:USR1@50")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
SMALL = ("--array=0-1", "--cpus-per-task=1", "--mem=1G", *SOON)


@pytest.fixture
def slurm(tmp_path):
    """CONTRIBUTING says what to install."""
    if not all(shutil.which(program) for program in PROGRAMS) or os.geteuid() != 0:
        pytest.skip(f"It needs {', '.join(PROGRAMS)}, and root.")
    (tmp_path / "slurm").mkdir()
    with Slurm(tmp_path / "slurm") as running:
        yield running


@pytest.fixture
def deployment(tmp_path):
    folder = tmp_path / "deployment"
    folder.mkdir()
    (folder / "slow.py").write_text(SLOW)
    with Deployment(folder) as running:
        running.environment["PYTHONPATH"] = f"{ROOT}:{folder}"
        running.environment["SEEDSWEEP_ALLOW_PYTHON"] = "slow:draw"
        running.create_bucket()
        running.start("scheduler", "scheduler", "--metrics-port", "0")
        yield running


@pytest.mark.nightly
def test_units_in_hand_are_finished_before_the_time_limit_and_the_array_goes_on(slurm, deployment):
    campaign_id = deployment.submit(write_slow_campaign(deployment.folder))
    job = slurm.submit(
        SCRIPT,
        SMALL,
        ("--device", "cpu"),
        folder=deployment.folder,
        environment=submitter(deployment),
    )

    def restarted():
        states = slurm.states(job).values()
        return all(state == "RUNNING" and restarts == 1 for state, restarts in states)

    wait_until(restarted, timeout=120)
    done = deployment.status(campaign_id)["units_done"]
    wait_until(lambda: deployment.status(campaign_id)["units_done"] > done, timeout=60)
    slurm.ask("scancel", "--batch", "--signal=TERM", job)
    wait_until(lambda: not slurm.ask("squeue", "-h"), timeout=60)

    for number in range(2):
        log = (deployment.folder / f"seedsweep-{job}_{number}.log").read_text()
        assert re.findall("since (.*)", log) == [
            "its time is nearly over.",
            "its time is nearly over.",
            "it was told to.",
        ], log
        assert len(re.findall(r"The worker \S+ has stopped", log)) == 2
        assert log.count("ended with exit code 0") == 2


def write_slow_campaign(folder):
    file = write_campaign(folder, "slow", 500, "slow:draw")
    file.write_text(file.read_text().replace('"noise"', '"python"'))
    return file


def submitter(deployment):
    """The environment in which somebody calls sbatch: seedsweep on PATH, the secrets in a file."""
    secrets = deployment.folder / "seedsweep.env"
    secrets.touch(0o600)
    secrets.write_text("".join(f"{name}={deployment.environment[name]}\n" for name in VARIABLES))
    path = f"{Path(need('seedsweep')).parent}:{os.environ['PATH']}"
    return {"PATH": path, "SEEDSWEEP_ENV_FILE": str(secrets)}
