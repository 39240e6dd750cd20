"""Ports on 127.0.0.1 that nothing listens on.

All lie below those that the kernel gives to outgoing connections, and above those that the workers
of a Ray listen on, so neither takes one meanwhile. A port that one process has been named is named
to no other, for as long as the first lives: a server may take its time to listen (Linux only).
"""

import random
import socket
import sys
from collections.abc import Iterable

HOST = "127.0.0.1"
_FIRST, _LAST = 20_000, 32_000
"""Ray's workers: 10002 to 19999 (its page "Configuring Ray"); the kernel: 32768 and more."""
_TRIES = 1000

_claims: list[socket.socket] = []


def free_ports(count: int, taken: Iterable[int] = (), apart: int = 0) -> list[int]:
    """Name so many ports, all different and none of those `taken`.

    With `apart` the ports so far above them are free too, and no more named by this.
    """
    ports: list[int] = []
    others = set(taken)
    while len(ports) < count:
        port = random.randrange(_FIRST, _LAST - apart)  # noqa: S311 - nothing secret
        pair = {port, port + apart}
        if others.isdisjoint(pair) and all(map(_claim_free, pair)):
            ports.append(port)
            others |= pair
    return ports


def free_run(length: int, taken: Iterable[int] = ()) -> int:
    """Name the first of so many ports in a row, none of them `taken`.

    Raises `OSError` where this machine has no such row.
    """
    others = set(taken)
    for _ in range(_TRIES):
        first = random.randrange(_FIRST, _LAST - length)  # noqa: S311 - nothing secret
        run = range(first, first + length)
        if others.isdisjoint(run) and all(map(_claim_free, run)):
            return first
    raise OSError(f"there are no {length} free ports in a row")


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def claim(port: int) -> bool:
    """Have no other process be named the port; False if one was, or this one.

    The claim is a name in the kernel's own list of sockets, which goes with the process.
    """
    if sys.platform != "linux":
        return True
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0seedsweep-port-{port}")
    except OSError:
        name.close()
        return False
    _claims.append(name)
    return True


def _claim_free(port: int) -> bool:
    """Whether the port is free and nobody's; it is this process's from now on."""
    return is_free(port) and claim(port)
