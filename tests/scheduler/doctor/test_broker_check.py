import contextlib
import dataclasses
import http.server
import socket
import threading

import pytest
import redis

from seedsweep.scheduler.doctor.broker_check import judge_broker
from seedsweep.storage.broker.facts import BrokerFacts, read_broker_facts
from seedsweep.storage.errors import (
    BrokerUnavailableError,
    ConfigError,
)
from tests.support.diagnoses import failure, verdicts

SECRET = "p/s#3:cr@t"  # noqa: S105


def test_a_broker_without_an_append_only_file_loses_only_time(look, broker, broker_url):
    fine, warning = look("broker", broker_url=broker_url)
    assert verdicts([fine, warning]) == ["fine", "warning"]
    assert "appendonly yes" in warning.remedy
    with configured(broker, appendonly="yes"):
        assert verdicts(look("broker", broker_url=broker_url)) == ["fine"]


def test_a_broker_that_forgets_when_it_is_full_fails(look, broker, broker_url):
    with configured(broker, **{"maxmemory-policy": "allkeys-lru"}):
        found = look("broker", broker_url=broker_url)
    failure(found, "allkeys-lru", "CONFIG SET maxmemory-policy noeviction")


def test_a_wrong_password_fails_without_being_printed(look, broker_url):
    wrong = broker_url.replace(":s3cret@", ":0ther-one@")
    found = look("broker", broker_url=wrong)
    failure(found, "password", "SEEDSWEEP_BROKER_URL")
    assert "0ther-one" not in str(found)


def test_a_broker_that_wants_a_password_says_so(look, broker_url):
    failure(look("broker", broker_url=broker_url.replace(":s3cret@", "")), "password")


def test_a_broker_that_is_not_there_is_unreachable(look, free_port):
    port = free_port()
    found = look("broker", broker_url=f"redis://:hush@127.0.0.1:{port}/0")
    assert failure(found, f"127.0.0.1:{port}", code=3).unreachable
    assert "hush" not in str(found)


def test_a_server_that_is_no_redis_is_unreachable(look):
    class Refuse(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = look("broker", broker_url=f"redis://127.0.0.1:{server.server_port}/0")
        server.shutdown()
    failure(found, "as a Redis does", code=3)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1:6379/0",
        "redis://:p/s3cr@127.0.0.1/0",
        "redis://:12/s3cr@127.0.0.1/0",
        "redis://:s3cr[@127.0.0.1/0",
        "redis://:s3cr@127.0.0.1:s3cr/0",
        "s3cr",
        "http://:s3cr@127.0.0.1:6379",
        "redis://:s3cr@127.0.0.1:6379?s3cr=1",
        "",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_repeated(url):
    with pytest.raises(ConfigError) as caught:
        read_broker_facts(url)
    assert "s3cr" not in str(caught.value)
    assert "redis://:PASSWORD@HOST:PORT/NUMBER" in str(caught.value)


def test_a_database_that_is_not_there_is_refused(broker_url):
    with pytest.raises(ConfigError, match="DB index"):
        read_broker_facts(broker_url.removesuffix("/0") + "/99")


def test_a_silent_server_is_unreachable_within_seconds(monkeypatch):
    monkeypatch.setattr("seedsweep.storage.broker.facts.TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BrokerUnavailableError, match=where):
            read_broker_facts(f"redis://{where}/0")


def test_a_brokers_facts_are_what_it_says_of_itself(broker, broker_url):
    before = read_broker_facts(broker_url)
    assert before.product == "valkey"
    assert before.version == broker.info()["valkey_version"]
    assert before.redis_version == broker.info()["redis_version"]
    assert before.append_only is False
    assert before.eviction_policy == "noeviction"
    assert (before.max_bytes, before.persistence_error, before.needs_password) == (0, False, True)
    assert 0 < before.round_trip_ms < 1000
    assert abs(before.clock_skew_seconds) < 1
    broker.set("some", bytes(10**6))
    with configured(broker, appendonly="yes", maxmemory="1gb"):
        after = read_broker_facts(broker_url)
    assert (after.append_only, after.max_bytes) == (True, 2**30)
    assert after.used_bytes > before.used_bytes + 10**6
    assert broker.keys() == [b"some"]


def test_a_broker_that_lets_everyone_in_is_known_whatever_the_url_says(broker, broker_url):
    stranger = broker_url.replace(":s3cret@", "")
    broker.acl_setuser("guest", enabled=True, passwords=["+any"], categories=["+@all"])
    named = broker_url.replace(":s3cret@", "guest:any@")
    assert read_broker_facts(named).needs_password
    with configured(broker, requirepass=""):
        assert not read_broker_facts(stranger).needs_password
        assert not read_broker_facts(named).needs_password
    broker.acl_deluser("guest")


def test_what_a_managed_broker_keeps_to_itself_is_unknown_and_no_failure(look, broker, broker_url):
    rights = {"categories": ["+@all"], "commands": ["-info", "-config"], "keys": ["*"]}
    broker.acl_setuser("tenant", enabled=True, passwords=["+pw"], **rights)
    found = look("broker", broker_url=broker_url.replace(":s3cret@", "tenant:pw@"))
    broker.acl_deluser("tenant")
    assert verdicts(found) == ["fine", "warning", "warning", "warning"]
    assert "noeviction" in found[2].remedy


@contextlib.contextmanager
def configured(broker, **settings):
    """Set the broker's configuration for a while."""
    before = {name: broker.config_get(name)[name] for name in settings}
    for name, value in settings.items():
        broker.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            broker.config_set(name, value)


def facts(**changes):
    usual = BrokerFacts(
        product="valkey",
        version="9.1.0",
        redis_version="7.2.4",
        append_only=True,
        eviction_policy="noeviction",
        used_bytes=10**6,
        max_bytes=0,
        clock_skew_seconds=0.0,
        round_trip_ms=0.1,
        persistence_error=False,
        needs_password=True,
    )
    return dataclasses.replace(usual, **changes)


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"redis_version": "5.0.14"}, "failure", ["5.0.14", "HELLO", "6.0"]),
        ({"redis_version": "6.0.0"}, "warning", ["6.0.0", "7.2", "tested"]),
        ({"redis_version": "6.2.14"}, "warning", ["6.2.14", "7.2", "tested"]),
        ({"redis_version": ""}, "warning", ["version"]),
        ({"redis_version": "unstable"}, "warning", ["version"]),
        ({"append_only": False}, "warning", ["append-only", "CONFIG SET appendonly yes"]),
        ({"append_only": None}, "warning", ["append-only"]),
        ({"eviction_policy": "volatile-ttl"}, "failure", ["volatile-ttl", "noeviction"]),
        ({"eviction_policy": None}, "warning", ["noeviction"]),
        ({"persistence_error": True}, "failure", ["disk"]),
    ],
)
def test_each_shortcoming_of_a_broker_is_judged_by_itself(changes, verdict, words):
    fine, found = judge_broker(facts(**changes), "redis://:x@127.0.0.1:6379/0")
    assert (fine.verdict, found.verdict) == ("fine", verdict)
    assert found.remedy
    for word in words:
        assert word in found.says + found.remedy


@pytest.mark.parametrize("version", ["7.2.0", "7.4.1", "8.0.0", "10.0.3"])
def test_later_versions_are_fine(version):
    url = "redis://:x@127.0.0.1:6379/0"
    assert verdicts(judge_broker(facts(redis_version=version), url)) == ["fine"]


@pytest.mark.parametrize(
    ("url", "needs_password", "words"),
    [
        ("redis://127.0.0.1:6379", False, []),
        ("redis://[::1]:6379", False, []),
        ("redis://localhost:6379", False, []),
        ("unix:///run/valkey.sock", False, []),
        ("redis://:x@broker:6379", True, ["rediss://"]),
        ("rediss://broker:6379", False, ["requirepass"]),
        ("redis://10.0.0.7:6379", False, ["requirepass", "rediss://"]),
        ("rediss://:x@10.0.0.7:6379", True, []),
    ],
)
def test_a_door_to_other_machines_wants_a_password_and_a_certificate(url, needs_password, words):
    _, *found = judge_broker(facts(needs_password=needs_password), url)
    assert verdicts(found) == ["warning"] * len(words)
    for diagnosis, word in zip(found, words, strict=True):
        assert word in diagnosis.remedy


def test_this_machines_client_still_needs_what_an_old_broker_lacks(broker, broker_url):
    """The reason for the oldest version that is taken: HELLO opens each connection."""
    broker.acl_setuser("old", enabled=True, passwords=["+pw"], categories=["+@all"])
    with contextlib.closing(
        redis.Redis.from_url(broker_url.replace(":s3cret@", "old:pw@"))
    ) as client:
        client.ping()
        assert broker.info("commandstats")["cmdstat_hello"]["calls"] > 0
    broker.acl_deluser("old")
