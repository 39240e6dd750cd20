"""A Slurm of one machine, for tests: controller, node and authentication, each a process."""

import os
import platform
import re
import subprocess

from tests.support.servers import TETHER, free_ports, wait_until
from tests.support.tools import need

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2,sched_interval=2
ReturnToService=2
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 Gres=gpu:2
PartitionName=tests Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""
DEVICES = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"
"""Slurm wants a device for each GPU that it lends, but does not open it."""


class Slurm:
    """Two cores and two GPUs, all on loopback; it needs root, as a real one does."""

    def __init__(self, folder):
        self.folder = folder
        self._processes = []
        self._environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self):
        self._configure()
        self._start("munged", "--foreground", "--force", *self._munge_options())
        wait_until((self.folder / "munge.socket").exists, timeout=30)
        self._start("slurmctld", "-D", "-i")
        wait_until(lambda: self._run("scontrol", "ping", check=False).returncode == 0, timeout=60)
        self._start("slurmd", "-D")
        wait_until(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%t"), timeout=60)
        return self

    def __exit__(self, *_):
        self._run("scancel", "--user=root", check=False)
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=60)

    def ask(self, *command):
        """What a command of Slurm prints."""
        return self._run(*command).stdout

    def submit(self, script, *options, folder, environment):
        """Hand a script to sbatch; returns the job's id."""
        said = self._run(
            "sbatch", *options[0], str(script), *options[1], cwd=folder, environment=environment
        ).stdout
        return re.search(r"\d+", said)[0]

    def states(self, job):
        """The states of a job's elements that have not ended, with how often each was requeued."""
        found = {}
        for line in self.ask("scontrol", "show", "job", "-o", job).splitlines():
            fields = dict(re.findall(r"(\w+)=(\S*)", line))
            element = f"{fields['ArrayJobId']}_{fields['ArrayTaskId']}"
            found[element] = fields["JobState"], int(fields["Restarts"])
        return found

    def logs(self):
        return "\n".join(log.read_text()[-3000:] for log in self.folder.glob("*.log"))

    def _configure(self):
        controller, node = free_ports(2)
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=self.folder,
                node=platform.node(),
                controller_port=controller,
                node_port=node,
            )
        )
        (self.folder / "gres.conf").write_text(DEVICES)
        (self.folder / "cgroup.conf").write_text("")

    def _munge_options(self):
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        named = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        return [f"--{name}={self.folder}/munge.{suffix}" for name, suffix in named.items()]

    def _start(self, program, *options):
        with (self.folder / f"{program}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [*TETHER, need(program), *options],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def _run(self, *command, environment=(), cwd=None, check=True):
        return subprocess.run(
            command,
            env={**self._environment, **dict(environment)},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )
