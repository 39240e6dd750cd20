"""A broker that sentinels watch: every client of ours finds the primary, also after a failover."""

import contextlib
import json
import os
import sys
from dataclasses import replace

import pytest

from seedsweep.scheduler.doctor.broker_check import judge_broker
from seedsweep.storage.broker.address import read_address
from seedsweep.storage.broker.facts import read_broker_facts
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation.celery_app import make_app, publish
from tests.support.broker_clients import UNIT, every_client, ping, send_a_unit
from tests.support.checkout import ROOT
from tests.support.commands import seedsweep_here
from tests.support.deployment import Process, write_campaign
from tests.support.sentinel import Watched
from tests.support.servers import free_ports, wait_until


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with Watched(tmp_path_factory.mktemp("watched")) as made:
        yield made


# What a URL says


@pytest.mark.parametrize(
    ("url", "where", "url_without_options"),
    [
        ("redis+sentinel://a/m", "m (sentinels a:26379)", "redis://a:26379/0"),
        ("redis+sentinel://a:1,b,[::1]:3/m/2", None, "redis://a:1/2"),
        ("redis+sentinel://:p%40w@a/m", "m (sentinels a:26379)", "redis://:p%40w@a:26379/0"),
        ("redis+sentinel://u:p@a,b/my%20m/0", "my m (sentinels a:26379, b:26379)", None),
        ("redis+sentinel://a:1,b:2/m?sentinel_password=p", "m (sentinels a:1, b:2)", None),
        ("rediss+sentinel://a/m?ssl_check_hostname=true", None, "rediss://a:26379/0"),
    ],
)
def test_a_url_names_sentinels_and_the_name_by_which_they_know_the_broker(
    url, where, url_without_options
):
    address = read_address(url)
    assert where in (None, address.where)
    assert url_without_options in (None, address.url)
    assert address.sentinels is not None
    assert "p%40w" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a,b",
        "redis+sentinel://a,b/",
        "redis+sentinel://a/m/x",
        "redis+sentinel:///m",
        "redis+sentinel://a,,b/m",
        "redis+sentinel://a:0/m",
        "redis+sentinel://:s3cr@t@a/m?x@y",
        "redis+sentinel://:s3cr@a/m?sentinel_password=s3cr@t",
        "redis+sentinel://a/m?master=s3cr",
        "redis+sentinel://a/m?ssl_ca_certs=s3cr",
        "redis://a,b/0",
        "redis://a/0?sentinel_password=s3cr",
        "sentinel://a:26379;sentinel://b:26379",
    ],
)
def test_another_url_is_refused_with_the_form_that_is_read(url):
    with pytest.raises(ConfigError) as caught:
        read_address(url)
    assert "redis+sentinel://:PASSWORD@HOST:PORT,HOST:PORT/NAME" in str(caught.value)
    assert "s3cr" not in str(caught.value)


# Who is found


@every_client
def test_every_client_finds_the_primary(watched, call):
    call(watched.url)


def test_what_is_written_is_at_the_primary(watched):
    Ledger(watched.url).begin_epoch()
    with contextlib.closing(watched.client(watched.primary())) as primary:
        assert primary.exists("seedsweep:epoch")


@every_client
def test_a_user_who_may_ask_sentinels_for_the_primary_alone_is_enough(watched, call):
    call(f"{watched.url}&sentinel_username=asker")


def test_a_doctor_says_who_the_primary_is(watched):
    facts = read_broker_facts(watched.url)
    assert facts.primary == f"127.0.0.1:{watched.primary()}"
    [first, *_] = judge_broker(facts, watched.url)
    assert f"at {facts.primary}, which the sentinels call the primary, answers" in first.says


def test_a_primary_elsewhere_is_judged_by_its_own_address(watched):
    """The sentinel is on this machine, the primary is not."""
    facts = replace(read_broker_facts(watched.url), primary="192.0.2.1:6379")
    said = " ".join(diagnosis.says for diagnosis in judge_broker(facts, watched.url))
    assert "The connection to 192.0.2.1 is not encrypted" in said
    over_tls = watched.url.replace("redis+", "rediss+")
    said = " ".join(diagnosis.says for diagnosis in judge_broker(facts, over_tls))
    assert "is not encrypted" not in said


@every_client
def test_a_sentinel_that_is_away_is_passed_over(watched, call):
    call(watched.url_of(f"127.0.0.1:{free_ports(1)[0]},127.0.0.1:{watched.sentinels[1]}"))


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        ({"password": "another"}, ConfigError, "refuses the user or password"),
        ({"sentinel_password": "another"}, ConfigError, "no sentinel names a primary mymaster"),
        ({"sentinel_password": ""}, ConfigError, "Authentication required"),
        ({"name": "other"}, BrokerUnavailableError, "it knows none of that name"),
    ],
)
def test_what_is_wrong_is_said_by_a_doctor(watched, wrong, kind, said):
    url = watched.url_of(f"127.0.0.1:{watched.sentinels[0]}", **wrong)
    with pytest.raises(kind, match=said) as caught:
        read_broker_facts(url)
    assert f"127.0.0.1:{watched.sentinels[0]}" in str(caught.value)
    assert "another" not in str(caught.value)


@pytest.mark.parametrize("call", [ping, send_a_unit])
def test_services_are_told_what_each_sentinel_answered(watched, call):
    away = free_ports(1)[0]
    places = f"127.0.0.1:{away},127.0.0.1:{watched.sentinels[0]}"
    with pytest.raises(BrokerUnavailableError) as caught:
        call(watched.url_of(places, name="other"))
    assert "no sentinel names a primary other" in str(caught.value)
    assert f"127.0.0.1:{away}: Error 111" in str(caught.value)
    assert f"127.0.0.1:{watched.sentinels[0]}: it knows none of that name" in str(caught.value)


@pytest.mark.parametrize("call", [ping, send_a_unit, read_broker_facts])
def test_a_broker_that_is_no_sentinel_is_said(watched, call):
    url = watched.url_of(f"127.0.0.1:{watched.primary()}", sentinel_password="")
    with pytest.raises((BrokerUnavailableError, ConfigError), match="no sentinel names a primary"):
        call(url)


# A failover


@pytest.fixture
def failing(tmp_path):
    with Watched(tmp_path) as made:
        yield made


def test_clients_follow_the_new_primary(failing):
    ledger, workforce, app = Ledger(failing.url), Workforce(failing.url), make_app(failing.url)
    ledger.ping()
    workforce.lead()
    publish(app, "queue:before", [UNIT])
    failing.kill_primary()
    wait_until(lambda: answers(ledger), timeout=30)
    ledger.begin_epoch()
    assert ledger.has_epoch()
    workforce.lead()
    publish(app, "queue:after", [UNIT])
    with contextlib.closing(failing.client(failing.primary())) as primary:
        assert primary.llen("seedsweep:queue:after") == 1
        assert primary.exists("seedsweep:epoch")


def test_services_go_on_at_the_new_primary_and_make_each_unit_once(failing, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SEEDSWEEP_BROKER_URL": failing.url,
        "SEEDSWEEP_STORE_URL": f"file:{tmp_path}/store",
    }

    def seedsweep(*arguments):
        finished = seedsweep_here(*arguments, folder=tmp_path, environment=environment)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def start(name, *arguments):
        command = [sys.executable, "-m", "seedsweep.cli", name, *arguments, "--metrics-port", "0"]
        return services.enter_context(running(command, tmp_path, environment, name))

    def done():
        [campaign] = json.loads(seedsweep("status", campaign_id, "--json"))
        return campaign["units_done"]

    campaign_id = seedsweep("submit", str(write_campaign(tmp_path, "watched", 400))).split()[-1]
    with contextlib.ExitStack() as services:
        both = start("scheduler"), start("worker", "--device", "cpu")
        wait_until(lambda: done() > 5, timeout=120)
        failing.kill_primary()
        before = done()
        wait_until(lambda: done() == 160, timeout=180)
        assert before < 160
        assert all(service.is_running for service in both)
        with contextlib.closing(failing.client(failing.primary())) as primary:
            assert primary.acl_log() == []
    assert len(list((tmp_path / "store" / "shards").rglob("*.parquet"))) == 160


@contextlib.contextmanager
def running(command, folder, environment, name):
    service = Process(command, folder, environment, folder / f"{name}.log")
    try:
        yield service
    except BaseException:
        print(service.said[-3000:])
        raise
    finally:
        service.kill()


def answers(ledger):
    with contextlib.suppress(BrokerUnavailableError):
        ledger.ping()
        return True
    return False
