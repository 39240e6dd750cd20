"""Ports on 127.0.0.1 that nothing listens on.

All lie below those that the kernel gives to outgoing connections, so none is taken meanwhile.
"""

import random
import socket
from collections.abc import Iterable

HOST = "127.0.0.1"
_FIRST, _LAST = 10_000, 22_000
_TRIES = 1000


def free_ports(count: int, taken: Iterable[int] = ()) -> list[int]:
    """Name so many ports, all different and none of those `taken`."""
    ports: list[int] = []
    others = set(taken)
    while len(ports) < count:
        port = _draw()
        if port not in others and is_free(port):
            ports.append(port)
            others.add(port)
    return ports


def free_run(length: int, taken: Iterable[int] = ()) -> int:
    """Name the first of so many ports in a row, none of them `taken`.

    Raises `OSError` where this machine has no such row.
    """
    others = set(taken)
    for _ in range(_TRIES):
        first = _draw()
        run = range(first, first + length)
        if others.isdisjoint(run) and all(map(is_free, run)):
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


def _draw() -> int:
    return random.randrange(_FIRST, _LAST)  # noqa: S311 - nothing secret
