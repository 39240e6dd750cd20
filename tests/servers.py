"""Servers that tests and benchmarks start, end and start again."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

WEED = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
# Ends a server together with the thread that started it, however that thread ends.
TETHER = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def wait_until(condition, timeout=10.0):
    """Poll a condition instead of sleeping: returns its first true value, or fails."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"nothing came of it within {timeout} s"
        time.sleep(0.005)


def free_ports(count):
    """Name ports on 127.0.0.1 that nothing listens on, all different.

    They lie below those that the kernel gives to outgoing connections, so none is taken meanwhile.
    """
    ports = []
    with contextlib.ExitStack() as probes:
        while len(ports) < count:
            port = random.randrange(10_000, 22_000)
            with contextlib.suppress(OSError):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
                ports.append(port)
    return ports


class S3Server:
    """SeaweedFS on ports of its own on `host`: a real S3 server that checks credentials.

    `folder` holds its data, which outlive `stop`, `kill` and `restart`. With `certificate` and
    `private_key` (paths) it speaks TLS. It ends at the latest with the thread that started it.
    """

    access_key = "seedsweep-tests"
    secret_key = "nobodys+secret/0123456789"  # noqa: S105

    def __init__(self, folder, certificate=None, private_key=None, host="127.0.0.1"):
        self.folder, self._host = folder, host
        self.port, self._admin_port, *self._ports = free_ports(9)
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
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        (self.folder / "s3.json").write_text(json.dumps(self._identities()))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*TETHER, WEED, "mini", *self._options()],
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
        self._remove_sockets()

    def kill(self):
        """End it as the kernel would, without a word."""
        self._process.kill()
        self._process.wait(timeout=10)

    def restart(self):
        """Start it again on the same ports and data, after killing it where it still runs."""
        if self._process.poll() is None:
            self.kill()
        self.start()

    def _answers(self):
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        with contextlib.suppress(OSError), socket.create_connection((self._host, self.port), 1):
            return "Press Ctrl+C" in (self.folder / "log").read_text().rpartition("Starting")[2]
        return False

    def _identities(self):
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        return {"identities": [{"name": "tests", "credentials": credentials, "actions": actions}]}

    def _options(self):
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = self._ports
        return [
            f"-ip={self._host}",
            f"-ip.bind={self._host}",
            f"-dir={self.folder / 'data'}",
            f"-s3.config={self.folder / 's3.json'}",
            "-s3.autoCreateBucket=false",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-admin.ui=false",
            "-webdav=false",
            "-volume.max=50",
            f"-s3.port={self.port}",
            f"-s3.port.grpc={s3_grpc}",
            f"-admin.port={self._admin_port}",
            f"-admin.port.grpc={self._admin_port + 10_000}",  # where its own worker looks for it
            f"-master.port={master}",
            f"-master.port.grpc={master_grpc}",
            f"-volume.port={volume}",
            f"-volume.port.public={volume}",
            f"-volume.port.grpc={volume_grpc}",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            *self._tls,
        ]

    def _remove_sockets(self):
        """A killed server leaves its sockets in /tmp."""
        for port in [self.port, self._admin_port + 10_000, *self._ports]:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
                left.unlink(missing_ok=True)


@contextlib.contextmanager
def ray_cluster(**environment):
    """A Ray of another process with three CPUs, as a cluster would be: its address."""
    code = (
        "from workers.actors import joined_ray\n"
        "with joined_ray(3, None) as ray:\n"
        "    print(ray.get_runtime_context().gcs_address, flush=True); input()"
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
        process.communicate("\n", timeout=30)
