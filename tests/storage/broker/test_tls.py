"""The broker over TLS: a real Valkey behind a proxy that speaks TLS with its clients."""

import contextlib
import json
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import pytest
import redis

from seedsweep.storage.broker.address import read_address
from seedsweep.storage.broker.facts import read_broker_facts
from seedsweep.storage.errors import BrokerUnavailableError, ConfigError
from seedsweep.storage.ledger import Ledger
from seedsweep.workers.generation.celery_app import make_app, publish
from tests.support.broker_clients import UNIT, every_client, ping, send_a_unit
from tests.support.deployment import PROMPTS, Deployment, write_campaign
from tests.support.proxy import Proxy
from tests.support.sentinel import Watched
from tests.support.servers import wait_until
from tests.support.tls import install_authority, make_authority, sign

every_service_client = pytest.mark.parametrize("call", [ping, send_a_unit])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, what it signed for servers and a client, and one of an unknown authority."""
    folder = tmp_path_factory.mktemp("tls")
    authority, other = make_authority(folder), make_authority(folder, "other")
    return SimpleNamespace(
        authority=authority,
        other=other,
        server=sign(authority, "server"),
        elsewhere=sign(authority, "elsewhere", "DNS:elsewhere.example"),
        client=sign(authority, "client", "DNS:client"),
    )


@pytest.fixture(autouse=True)
def trusted(certificates, monkeypatch):
    """The authority is the one that the environment names."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.file))


@pytest.fixture
def over_tls(broker_url):
    """Serve the broker with a certificate; returns the URL of that."""
    with contextlib.ExitStack() as proxies:

        def serve(certificate, client_authority=None):
            parts, tls = urlsplit(broker_url), certificate.server_context(client_authority)
            port = proxies.enter_context(Proxy(parts.port, tls=tls)).port
            return f"rediss://:{parts.password}@127.0.0.1:{port}/0"

        yield serve


@pytest.fixture
def url(over_tls, certificates):
    return over_tls(certificates.server)


def words_of(call, url, kind):
    """The one sentence that a call is refused with; it never holds the password."""
    with pytest.raises(kind) as caught:
        call(url)
    words = str(caught.value)
    assert type(caught.value) is kind
    assert "s3cret" not in words
    assert "\n" not in words
    assert words.count(". ") == 0
    return words


# Whom clients talk to


@every_client
def test_a_certificate_that_the_environment_names_is_trusted(url, call):
    call(url)


@every_service_client
def test_the_url_may_name_it_instead(url, certificates, monkeypatch, call):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.other.file))
    call(f"{url}?ssl_ca_certs={quote(str(certificates.authority.file))}")


@every_service_client
@pytest.mark.parametrize("named", ["other", None])
def test_one_of_another_authority_is_refused_with_the_remedy(
    url, certificates, monkeypatch, call, named
):
    """`None`: those of the public authorities are trusted."""
    if named:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.other.file))
    else:
        monkeypatch.delenv("SSL_CERT_FILE")
    words = words_of(call, url, BrokerUnavailableError)
    assert "certificate is not trusted" in words
    assert "set SSL_CERT_FILE to" in words
    assert "set SSL_CERT_FILE to" in words_of(read_broker_facts, url, ConfigError)


@every_client
def test_what_the_environment_names_is_trusted_instead_of_the_systems_authorities(
    url, certificates, monkeypatch, tmp_path, call
):
    """Redis's own client trusts both: who names one authority means no other."""
    install_authority(certificates.authority, tmp_path)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.other.file))
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        assert client.ping()
    with pytest.raises((BrokerUnavailableError, ConfigError), match="not trusted"):
        call(url)


@every_service_client
def test_a_certificate_for_another_name_is_refused_with_the_remedy(over_tls, certificates, call):
    url = over_tls(certificates.elsewhere)
    words = words_of(call, url, BrokerUnavailableError)
    assert "not valid for '127.0.0.1'" in words
    assert "SEEDSWEEP_BROKER_URL" in words
    assert "not valid for" in words_of(read_broker_facts, url, ConfigError)


@every_client
@pytest.mark.parametrize(
    "option",
    [
        *("ssl_cert_reqs=none", "ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs=optional"),
        *("ssl_check_hostname=false", "ssl_check_hostname=0"),
    ],
)
def test_the_check_cannot_be_switched_off(url, call, option):
    words = words_of(call, f"{url}?{option}", ConfigError)
    assert f"leave {option.partition('=')[0]} out" in words
    assert "SSL_CERT_FILE" in words


@every_client
def test_that_it_is_to_be_checked_may_be_said(url, call):
    call(f"{url}?ssl_cert_reqs=required&ssl_check_hostname=true")


@every_client
@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_that_holds_no_certificates_is_refused_before_anything_is_asked(
    url, tmp_path, monkeypatch, call, content
):
    if content is not None:
        (tmp_path / "cert").write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
    assert "set SSL_CERT_FILE to a PEM file" in words_of(call, url, ConfigError)


def test_services_that_were_refused_get_on_once_the_certificate_is_mended(broker_url, certificates):
    """Neither a new certificate of the broker nor of its authority wants a restart."""
    context = certificates.elsewhere.server_context()
    parts = urlsplit(broker_url)
    with Proxy(parts.port, tls=context) as proxy:
        url = f"rediss://:{parts.password}@127.0.0.1:{proxy.port}/0"
        ledger, app = Ledger(url), make_app(url)
        for _ in range(2):
            with pytest.raises(BrokerUnavailableError):
                ledger.ping()
            with pytest.raises(BrokerUnavailableError):
                publish(app, "queue:tls", [UNIT])
        context.load_cert_chain(certificates.server.file, certificates.server.key)
        ledger.ping()
        publish(app, "queue:tls", [UNIT])


# Who clients are


@pytest.fixture
def mutual(over_tls, certificates):
    """The URL of a broker that wants certificates of its clients."""
    return over_tls(certificates.server, client_authority=certificates.authority)


@every_client
def test_a_client_shows_the_certificate_that_its_url_names(mutual, certificates, call):
    client = certificates.client
    call(f"{mutual}?ssl_certfile={quote(str(client.file))}&ssl_keyfile={quote(str(client.key))}")


@every_service_client
def test_without_one_it_is_turned_away(mutual, call):
    words_of(call, mutual, BrokerUnavailableError)


@every_client
def test_a_key_that_does_not_belong_to_it_is_refused_before_anything_is_asked(
    mutual, certificates, call
):
    wrong = f"?ssl_certfile={certificates.client.file}&ssl_keyfile={certificates.other.key}"
    assert "correct ssl_certfile and ssl_keyfile" in words_of(call, mutual + wrong, ConfigError)


# Where TLS is spoken


def test_a_server_without_tls_is_told_from_one_that_is_away(broker_url, monkeypatch):
    monkeypatch.setattr("seedsweep.storage.broker.connection.CONNECT_SECONDS", 0.2)
    monkeypatch.setattr("seedsweep.storage.broker.facts.TIMEOUT_SECONDS", 0.2)
    plain = broker_url.replace("redis://", "rediss://")
    for call in (ping, read_broker_facts):
        assert "write redis://" in words_of(call, plain, BrokerUnavailableError)


@every_service_client
def test_a_client_without_tls_is_turned_away_by_a_server_with_it(url, call):
    words_of(call, url.replace("rediss://", "redis://"), BrokerUnavailableError)


# The whole of it


def test_a_deployment_works_over_tls_alone(certificates, tmp_path, joining_ray):
    password = "p/s#3;cr@t%20"  # noqa: S105
    file = write_campaign(tmp_path, "tls", seeds=20)
    tls = certificates.server.server_context()
    with Deployment(tmp_path, password=password, tls=tls, variables=joining_ray) as it:
        assert it.broker_url.startswith("rediss://")
        it.seedsweep("doctor", "--create-bucket")
        it.start_services(workers=1)
        campaign_id = it.submit(file)
        ledger = Ledger(it.broker_url)
        wait_until(lambda: (counts := ledger.counts(campaign_id)) and counts.settled, timeout=60)
        assert it.status(campaign_id)["units_done"] == len(PROMPTS)
        assert [w["alive"] for w in json.loads(it.seedsweep("workers", "--json"))] == [True]
        # All that it says of the broker, it says because it reached it.
        it.environment["SSL_CERT_FILE"] = str(certificates.other.file)
        assert "certificate is not trusted" in it.seedsweep("doctor", code=2)
        it.start_worker("distrustful")
        distrustful = it.services["distrustful"]
        wait_until(
            lambda: (
                "No units are taken for now: The broker does not answer (its certificate"
                in distrustful.said
            ),
            timeout=60,
        )
        assert distrustful.stop() == 0
        said = it.logs()
    assert password not in said
    assert quote(password, safe="") not in said


# Sentinels


def test_sentinels_and_whom_they_name_are_asked_in_tls(certificates, tmp_path, monkeypatch):
    """The primary here speaks none, and is told so."""
    tls = certificates.server.server_context()
    with Watched(tmp_path) as watched, Proxy(watched.sentinels[0], tls=tls) as proxy:
        url = "rediss" + watched.url_of(f"127.0.0.1:{proxy.port}").removeprefix("redis")
        asked = read_address(url).sentinels
        assert asked.discover_master("mymaster") == ("127.0.0.1", watched.primary())
        words = words_of(ping, url, BrokerUnavailableError)
        assert "it speaks no TLS" in words or "no answer in TLS" in words
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.other.file))
        assert "set SSL_CERT_FILE to" in words_of(ping, url, BrokerUnavailableError)
