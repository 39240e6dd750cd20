"""Servers that tests and benchmarks start, end and start again."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time

from deploy.local.ports import free_ports
from deploy.local.servers import (
    choose_weed_ports,
    find_weed,
    remove_weed_sockets,
    weed_is_ready,
    weed_options,
    write_weed_identities,
)
from tests.support.patience import load_per_core

__all__ = ["TETHER", "WEED", "S3Server", "free_ports", "ray_cluster", "wait_until"]

WEED = find_weed()
VOLUMES = 50
# Ends a server together with the thread that started it, however that thread ends.
TETHER = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def wait_until(condition, timeout=10.0):
    """Poll a condition instead of sleeping: returns its first true value, or fails.

    The timeout, in seconds, is that of a machine with a core to spare: it grows with the load. At
    most a quarter of the time goes into asking: what is waited for needs the processor too.
    """
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        waited, load = now - began, load_per_core()
        assert waited < timeout * load, (
            f"nothing came of it within {waited:.0f} s, at {load:.1f} runnable processes per core"
        )
        time.sleep(max(0.005, 3 * (now - asked)))


class S3Server:
    """SeaweedFS on ports of its own on `host`: a real S3 server that checks credentials.

    `folder` holds its data, which outlive `stop`, `kill` and `restart`. With `certificate` and
    `private_key` (paths) it speaks TLS. It ends at the latest with the thread that started it.
    """

    access_key = "seedsweep-tests"
    secret_key = "nobodys+secret/0123456789"  # noqa: S105

    def __init__(self, folder, certificate=None, private_key=None, host="127.0.0.1"):
        self.folder, self._host = folder, host
        self._ports = choose_weed_ports()
        self.port = self._ports.s3
        tls = [f"-s3.cert.file={certificate}", f"-s3.key.file={private_key}"]
        self._tls = tls if certificate else []
        self._process = None
        self.endpoint = f"{'https' if certificate else 'http'}://{host}:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def environment(self):
        """The variables that a client of this server needs."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def stored_bytes(self):
        """How much lies on the disk, that of objects still being written included."""
        return sum(file.stat().st_size for file in (self.folder / "data").glob("*.dat"))

    def start(self):
        """Start it and wait until it answers."""
        data, identities = self.folder / "data", self.folder / "s3.json"
        data.mkdir(parents=True, exist_ok=True)
        write_weed_identities(identities, self.access_key, self.secret_key)
        options = weed_options(self._host, self._ports, data, identities, VOLUMES)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*TETHER, WEED, *options, *self._tls],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, timeout=30)

    def stop(self):
        """End it in good order; it waits for idle connections, but not for long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self.kill()
        remove_weed_sockets(self._ports)

    def kill(self):
        """End it as the kernel would, without a word."""
        self._process.kill()
        self._process.wait(timeout=60)

    def restart(self):
        """Start it again on the same ports and data, after killing it where it still runs."""
        if self._process.poll() is None:
            self.kill()
        self.start()

    def _answers(self):
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        with contextlib.suppress(OSError), socket.create_connection((self._host, self.port), 1):
            return weed_is_ready(self.folder / "log")
        return False


@contextlib.contextmanager
def ray_cluster(cpus=3, **environment):
    """A Ray of another process with so many CPUs, as a cluster would be: its address.

    It asks for a token where this process sends one: it does once it has had a Ray of its own.
    """
    environment = {
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled"),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_prestart_worker_first_driver": "0",
    } | environment
    code = (
        "import ray\n"
        "from seedsweep.workers.cluster import private_ray\n"
        "# Who joins it has variables of his own for his actors, which the other agent sets.\n"
        "private_ray._AGENTS = ('--dashboard_agent_command',)\n"
        "with private_ray.private_folder() as folder:\n"
        f"    private_ray.start(ray, {cpus}, folder)\n"
        "    print(ray.get_runtime_context().gcs_address, flush=True); input()\n"
        "    ray.shutdown()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment,
        text=True,
    ) as process:
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield address
        process.communicate("\n", timeout=60)
