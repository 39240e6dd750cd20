"""A deployment by deploy.local, for tests: its commands as people give them."""

import contextlib
import io
import json
import os
import subprocess
import sys
from unittest import mock

from deploy.local.__main__ import main
from deploy.local.ports import claim
from deploy.local.processes import standing_in
from deploy.local.settings import load
from tests.support.checkout import ROOT
from tests.support.commands import seedsweep_here


class Local:
    """The commands of deploy.local on one folder, with some more variables of the environment."""

    def __init__(self, folder, **environment):
        self.folder = folder.resolve()
        self._environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"} | environment

    def command(self, *words, code=0):
        """Run a command; returns what it printed and what it said.

        One that only looks, or is refused, starts nothing, and needs no process of its own.
        """
        if words[0] == "status" or code == 2:
            return self._command_here(*words, code=code)
        finished = subprocess.run(
            [sys.executable, "-m", "deploy.local", *words],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert finished.returncode == code, finished.stdout + finished.stderr + self.logs()
        return finished.stdout, finished.stderr

    def _command_here(self, *words, code):
        printed, said = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self._environment, clear=True),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(said),
        ):
            ended = main([*words])
        assert ended == code, printed.getvalue() + said.getvalue() + self.logs()
        return printed.getvalue(), said.getvalue()

    def up(self, *options, code=0):
        said = self.command("up", str(self.folder), *options, code=code)
        # While a part is dead, nothing that other tests start takes its ports.
        for port in self.settings.ports.all_but_workers if self.settings else ():
            claim(port)
        return said

    def down(self, *options):
        return self.command("down", str(self.folder), *options)

    def status(self, code=0):
        printed, _ = self.command("status", str(self.folder), "--json", code=code)
        return {part["name"]: part for part in json.loads(printed)}

    def shell(self, command):
        """What a command prints in a shell that has read the deployment's environment."""
        finished = subprocess.run(
            ["/bin/sh", "-c", f". {self.folder}/env && {command}"],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    @property
    def environment(self):
        """The variables of a shell that reads the deployment's environment now."""
        lines = self.shell("env -0").split("\0")
        return dict(line.split("=", 1) for line in lines if line)

    def seedsweep(self, *words):
        """What a command prints that has this environment, in this process."""
        finished = seedsweep_here(*words, folder=self.folder, environment=self.environment)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def submit(self, file):
        return self.seedsweep("submit", str(file)).splitlines()[-1]

    def campaign(self, campaign_id):
        (campaign,) = json.loads(self.seedsweep("status", campaign_id, "--json"))
        return campaign

    @property
    def settings(self):
        return load(self.folder / "settings.json")

    def processes(self):
        """Every process of the deployment, whoever started it."""
        stands = [path for path in (self.folder / "run").iterdir() if path.is_dir()]
        return [process for stand in stands for process in standing_in(stand)]

    def logs(self):
        """What every part said last, for the message of a failed test."""
        files = sorted(self.folder.glob("log/*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text()[-2000:]}" for file in files)
