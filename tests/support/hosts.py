"""Two hosts on one machine: network namespaces, joined by a link that can be cut."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

IP = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@dataclass(frozen=True)
class Host:
    """A network namespace with one address, and its end of the link."""

    name: str
    address: str
    link: str

    @contextlib.contextmanager
    def inside(self):
        """This thread, and all processes that it starts, are on the host meanwhile."""
        with Path("/proc/thread-self/ns/net").open() as home, self._file.open() as there:
            _enter(there)
            try:
                yield
            finally:
                _enter(home)

    def cut(self):
        """From now on whatever the other host sends is lost without a word."""
        _ip("-n", self.name, "link", "set", self.link, "down")

    def heal(self):
        _ip("-n", self.name, "link", "set", self.link, "up")

    def start(self):
        """Set its end of the link up, once there is one."""
        for command in (
            ("addr", "add", f"{self.address}/24", "dev", self.link),
            ("link", "set", "lo", "up"),
            ("link", "set", self.link, "up"),
        ):
            _ip("-n", self.name, *command)

    def remove(self):
        """Kill whatever still runs on it, and remove it, its end of the link included."""
        for pid in _ip("netns", "pids", self.name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "del", self.name)

    @property
    def _file(self):
        return Path("/run/netns") / self.name


def why_not():
    """Why two hosts cannot be had here; empty where they can."""
    if IP is None:
        return "two hosts need iproute2's ip"
    probe = f"seedsweep-{uuid.uuid4().hex[:8]}"
    added = subprocess.run([IP, "netns", "add", probe], capture_output=True, text=True, check=False)
    if added.returncode:
        return f"two hosts need root and CAP_NET_ADMIN: {added.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


@contextlib.contextmanager
def two_hosts():
    """Two hosts and the link between them; nothing of it can be reached from anywhere else."""
    run = uuid.uuid4().hex[:8]
    hosts = [Host(f"seedsweep-{run}-{n}", f"10.213.7.{n}", f"link{n}") for n in (1, 2)]
    with contextlib.ExitStack() as removing:
        for host in hosts:
            _ip("netns", "add", host.name)
            removing.callback(host.remove)
        first, second = hosts
        link = ("link", "add", first.link, "netns", first.name, "type", "veth")
        _ip(*link, "peer", "name", second.link, "netns", second.name)
        for host in hosts:
            host.start()
        yield hosts


def _ip(*arguments):
    return subprocess.check_output([IP, *arguments], text=True)


def _enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), 0):
        raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")
