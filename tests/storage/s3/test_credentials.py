"""Whose credentials a store in S3 is used with, and how they are kept fresh."""

import itertools
import json
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest

from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.s3 import credentials, sources
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.stores import open_store
from tests.support.answers import HASTE, Answer, s3_error
from tests.support.commands import seedsweep_here
from tests.support.patience import done_within

ROLE = "arn:aws:iam::123456789012:role/sweeper"
TOKEN = "t0ken.of-a.pod"  # noqa: S105
VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"),
    *("AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ENDPOINT_URL_STS"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    *("AWS_EC2_METADATA_DISABLED", "AWS_REGION", "AWS_DEFAULT_REGION"),
)


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path, request, free_port):
    """An environment without any credentials, and a home without files, on a machine of no cloud.

    Whoever asks for the real server has its keys as `keys` alone.
    """
    if "s3_server" in request.fixturenames:
        request.getfixturevalue("s3_server")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
    return monkeypatch


@pytest.fixture
def keys(s3_server):
    """A pair of keys that the real server knows."""
    return s3_server.access_key, s3_server.secret_key


def ini(section, pair, **more):
    values = {"aws_access_key_id": pair[0], "aws_secret_access_key": pair[1], **more}
    return "\n".join([f"[{section}]", *(f"{name} = {value}" for name, value in values.items()), ""])


class Roles:
    """What gives a role's keys: an STS, a container's agent and a metadata server in one.

    `life`: for how many seconds; `failing`: what all are answered with instead. With `token`, what
    the keys are used with as well.
    """

    def __init__(self, pair=("key", "secret"), life=3600.0, token=""):
        self.pair, self.life, self.token = pair, life, token
        self.failing = None
        self.asked, self.given = [], 0

    def __call__(self, request):
        self.asked.append(request)
        if self.failing is not None:
            return self.failing
        if request.path == "/latest/api/token":
            assert request.method == "PUT"
            return Answer(200, b"m3tadata-t0ken")
        if request.path == "/latest/meta-data/iam/security-credentials/":
            return Answer(200, b"sweeper") if self._knows(request) else Answer(401)
        self.given += 1
        if request.method == "POST":
            return self._sts(request)
        if request.path.startswith("/latest/") and not self._knows(request):
            return Answer(401)
        access_key, secret_key = self.pair
        fields = {"AccessKeyId": access_key, "SecretAccessKey": secret_key, "Token": self.token}
        return Answer(200, json.dumps({**fields, "Expiration": self._end()}).encode())

    @staticmethod
    def _knows(request):
        return request.headers.get("X-aws-ec2-metadata-token") == "m3tadata-t0ken"

    def _end(self):
        return (datetime.now(UTC) + timedelta(seconds=self.life)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _sts(self, request):
        asked = {name: value[0] for name, value in parse_qs(request.body.decode()).items()}
        action, knows = (
            asked["Action"],
            "Credential=own/" in request.headers.get("Authorization", ""),
        )
        if action == "AssumeRoleWithWebIdentity":
            knows = asked["WebIdentityToken"] == TOKEN
        if not knows or asked["RoleArn"] != ROLE or not asked["RoleSessionName"]:
            return s3_error(400, "InvalidIdentityToken")
        inner = "".join(
            f"<{name}>{value}</{name}>"
            for name, value in {
                "AccessKeyId": self.pair[0],
                "SecretAccessKey": self.pair[1],
                "SessionToken": self.token,
                "Expiration": self._end(),
            }.items()
        )
        xml = (
            f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<{action}Result><Credentials>{inner}</Credentials></{action}Result>"
            f"</{action}Response>"
        )
        return Answer(200, xml.encode(), {"Content-Type": "text/xml"})


@pytest.fixture
def source(environment, tmp_path, serve):
    """Set up one source of credentials, which gives a pair of keys or what `roles` gives."""

    def write(path, text):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
        return str(tmp_path / path)

    def set_up(name, pair=("key", "secret"), roles=None):
        roles = roles or Roles(pair)
        values = {
            "variables": lambda: dict(
                zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), pair, strict=True)
            ),
            "MinIO's variables": lambda: dict(
                zip(("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"), pair, strict=True)
            ),
            "web identity": lambda: {
                "AWS_ROLE_ARN": ROLE,
                "AWS_WEB_IDENTITY_TOKEN_FILE": write("pod/token", TOKEN),
                "AWS_ENDPOINT_URL_STS": serve(roles),
            },
            "credentials file": lambda: write(".aws/credentials", ini("default", pair)) and {},
            "AWS_PROFILE": lambda: (
                write(".aws/credentials", ini("default", "xy") + ini("audit", pair))
                and {"AWS_PROFILE": "audit"}
            ),
            "named credentials file": lambda: {
                "AWS_SHARED_CREDENTIALS_FILE": write("else", ini("default", pair))
            },
            "config file": lambda: write(".aws/config", ini("default", pair)) and {},
            "profile of a named config file": lambda: {
                "AWS_CONFIG_FILE": write("conf", ini("profile audit", pair)),
                "AWS_PROFILE": "audit",
            },
            "role of a profile": lambda: {
                "AWS_CONFIG_FILE": write(
                    "conf", f"[profile audit]\nrole_arn = {ROLE}\nsource_profile = default\n"
                ),
                "AWS_SHARED_CREDENTIALS_FILE": write("else", ini("default", ("own", "s3cr%t"))),
                "AWS_PROFILE": "audit",
                "AWS_ENDPOINT_URL_STS": serve(roles),
            },
            "container": lambda: {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{serve(roles)}/v1/credentials"
            },
            "pod identity": lambda: {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{serve(roles)}/v1/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": write("pod/token", TOKEN),
            },
            "instance": lambda: {"AWS_EC2_METADATA_SERVICE_ENDPOINT": serve(roles)},
        }
        for variable, value in values[name]().items():
            environment.setenv(variable, value)
        return roles

    return set_up


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("variables", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("MinIO's variables", "MINIO_ACCESS_KEY and MINIO_SECRET_KEY"),
        ("web identity", f"web identity (the role {ROLE} by the token in "),
        ("credentials file", "the profile default of "),
        ("AWS_PROFILE", "the profile audit of "),
        ("named credentials file", "the profile default of "),
        ("config file", ".aws/config"),
        ("profile of a named config file", "the profile audit of "),
        ("role of a profile", f"the role {ROLE} by the profile audit of "),
        ("container", "the container's role (AWS_CONTAINER_CREDENTIALS_FULL_URI)"),
        ("pod identity", "the container's role (AWS_CONTAINER_CREDENTIALS_FULL_URI)"),
        ("instance", "the instance's role (from http://127.0.0.1:"),
    ],
)
def test_each_source_opens_the_store_and_is_named(source, keys, s3_url, name, words):
    source(name, keys)
    store = open_store(s3_url)
    assert store.create("a/b", b"data")
    assert store.read("a/b") == b"data"
    assert words in store.inspect().credentials
    assert keys[1] not in store.inspect().credentials


def test_a_store_of_its_own_kind_is_asked_for_a_role_at_its_endpoint(
    environment, source, pass_on, serve, s3_url, keys
):
    """MinIO and Ceph have an STS where they have S3."""
    roles = source("web identity", keys)
    environment.delenv("AWS_ENDPOINT_URL_STS")
    endpoint = serve(lambda request: (roles if request.path == "/" else pass_on)(request))
    assert S3Store(f"{s3_url.partition('?')[0]}?endpoint={endpoint}").create("a", b"1")
    assert roles.given == 1


def test_a_pod_identity_shows_its_token_and_a_role_its_session_token(source, serve):
    roles = source("pod identity", roles=Roles(token="of-this-session"))  # noqa: S106
    seen = []
    store = S3Store(f"s3://bucket?endpoint={serve(answering(seen))}")
    assert store.read("a") == b"data"
    assert roles.asked[0].headers["Authorization"] == TOKEN
    assert seen[0].headers["X-Amz-Security-Token"] == "of-this-session"


def answering(seen):
    """An S3 server that has any object, and takes any keys."""

    def answer(request):
        seen.append(request)
        return Answer(200, b"data", {"ETag": '"1"'})

    return answer


def used_by(request):
    """The access key that a request is signed with."""
    return request.headers["Authorization"].partition("Credential=")[2].partition("/")[0]


ORDER = (
    *("variables", "MinIO's variables", "web identity", "credentials file", "config file"),
    *("container", "instance"),
)


@pytest.mark.parametrize(("first", "second"), [*itertools.pairwise(ORDER)])
def test_of_two_sources_the_first_is_taken(source, serve, first, second):
    source(second, ("second", "secret"))
    source(first, ("first", "secret"))
    seen = []
    S3Store(f"s3://bucket?endpoint={serve(answering(seen))}").read("a")
    assert [used_by(request) for request in seen] == ["first"]


class TestFailing:
    """One that is set up and fails is told in one sentence: no other is taken in its place."""

    URL = "s3://bucket?endpoint=http://127.0.0.1:9"

    @pytest.mark.parametrize(
        "name", ["web identity", "role of a profile", "container", "pod identity", "instance"]
    )
    @pytest.mark.parametrize(
        ("answer", "kind", "words"),
        [
            (Answer(403, b"no"), ConfigError, "HTTP 403"),
            (Answer(404), ConfigError, "HTTP 404"),
            (Answer(503), StoreUnavailableError, "HTTP 503"),
            (Answer(200, b"<html>"), ConfigError, "the token or the answer is none"),
            (Answer(200, b"[]"), ConfigError, "the token or the answer is none"),
            (Answer(200, b"{}"), ConfigError, "the token or the answer is none"),
        ],
        ids=["refused", "unknown", "busy", "page", "list", "empty"],
    )
    def test_a_server_that_gives_none(self, source, name, answer, kind, words, monkeypatch):
        monkeypatch.setattr(sources, "SERVER", HASTE)
        source("instance")
        source(name).failing = answer
        store = S3Store(self.URL)
        with pytest.raises(kind, match="There are no credentials for the store") as caught:
            store.read("a")
        assert words in str(caught.value)
        assert caught.value.__cause__ is None

    def test_a_server_that_is_away_may_come_back(self, environment, source, free_port):
        source("web identity")
        environment.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(
            StoreUnavailableError, match=r"\(nobody answers\); look at AWS_ROLE_ARN"
        ):
            S3Store(self.URL).read("a")

    @pytest.mark.parametrize("name", ["web identity", "pod identity"])
    def test_a_token_that_cannot_be_read(self, source, tmp_path, name):
        source(name)
        (tmp_path / "pod" / "token").unlink()
        with pytest.raises(ConfigError, match="pod/token cannot be read: No such file"):
            S3Store(self.URL).read("a")

    def test_a_container_agent_elsewhere_that_wants_no_token(self, environment):
        environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/keys")
        with pytest.raises(ConfigError, match="it is elsewhere, and AWS_CONTAINER_AUTHORIZATION"):
            S3Store(self.URL).read("a")

    @pytest.mark.parametrize(
        ("variables", "words"),
        [
            ({"AWS_ACCESS_KEY_ID": "k"}, "only AWS_ACCESS_KEY_ID is set; set AWS_ACCESS_KEY_ID an"),
            ({"AWS_SECRET_ACCESS_KEY": "s3cret"}, "only AWS_SECRET_ACCESS_KEY is set; set AWS_ACC"),
            ({"MINIO_SECRET_KEY": "s3cret"}, "only MINIO_SECRET_KEY is set; set MINIO_ACCESS_KEY"),
            (
                {"AWS_PROFILE": "other"},
                "AWS_PROFILE is other, and the profile other of .* holds no ",
            ),
            ({"AWS_PROFILE": "half"}, "the profile half of .* lacks a key; give it aws_access_key"),
            ({"AWS_PROFILE": "sso"}, "the profile sso of .* has them through sso_session; set wha"),
            ({"AWS_PROFILE": "mfa"}, "the profile mfa of .* has them through mfa_serial; set what"),
            ({"AWS_PROFILE": "tool"}, "the profile tool of .* has them through credential_process"),
            ({"AWS_PROFILE": "rootless"}, "the profile nobody of .* lacks a key; give it aws_acc"),
            ({"AWS_PROFILE": "chain"}, "has its role by mfa, which is one for a time itself; name"),
            ({"AWS_PROFILE": "lent"}, "has its role by session, which is one for a time itself; n"),
            ({"AWS_CONFIG_FILE": "text"}, "text is no file of profiles; correct it"),
            ({"AWS_CONFIG_FILE": "bytes"}, "bytes is no file of profiles; correct it"),
        ],
    )
    def test_what_is_wrong_with_the_settings(self, environment, tmp_path, variables, words):
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "credentials").write_text(
            "[half]\naws_access_key_id = k\n[mfa]\nrole_arn = arn:aws:iam::1:role/x\n"
            "aws_access_key_id = k\naws_secret_access_key = s3cret\nmfa_serial = m\n"
            "[session]\naws_access_key_id = k\naws_secret_access_key = s3cret\n"
            "aws_session_token = s3cret\n"
        )
        (tmp_path / ".aws" / "config").write_text(
            "[profile sso]\nsso_session = corp\n[profile tool]\ncredential_process = /bin/false\n"
            "[profile rootless]\nrole_arn = r\nsource_profile = nobody\n"
            "[profile chain]\nrole_arn = r\nsource_profile = mfa\n"
            "[profile lent]\nrole_arn = r\nsource_profile = session\n"
        )
        (tmp_path / "text").write_text("s3cret = no section")
        (tmp_path / "bytes").write_bytes(b"[default]\n\xff\xfe")
        environment.chdir(tmp_path)
        for name, value in variables.items():
            environment.setenv(name, value)
        with pytest.raises(ConfigError, match=f"no credentials for the store s3://.*{words}") as e:
            S3Store(self.URL).read("a")
        assert "s3cret" not in str(e.value)

    def test_where_there_are_none_it_says_where_it_looked(self, environment, tmp_path, free_port):
        server = f"http://127.0.0.1:{free_port()}"
        environment.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server)
        with pytest.raises(ConfigError) as caught:
            S3Store(self.URL).read("a")
        for word in ("AWS_ACCESS_KEY_ID", "MINIO_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"):
            assert word in str(caught.value)
        for word in (f"{tmp_path}/.aws/credentials", "AWS_CONTAINER_CREDENTIALS_FULL_URI", server):
            assert word in str(caught.value)

    def test_so_it_does_where_the_instance_has_no_role(self, source):
        source("instance").failing = Answer(404)
        with pytest.raises(ConfigError, match=r"none are in AWS_ACCESS_KEY_ID and .*HTTP 404"):
            S3Store(self.URL).read("a")

    def test_so_it_does_at_once_where_no_metadata_server_is_wanted(self, environment):
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(ConfigError, match="AWS_EC2_METADATA_DISABLED is set; set AWS_ACCESS"):
            S3Store(self.URL)

    def test_a_metadata_server_that_says_nothing_costs_two_seconds_at_most(self, environment):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            server = f"http://127.0.0.1:{silent.getsockname()[1]}"
            environment.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server)
            store = S3Store(self.URL)
            with done_within(2), pytest.raises(ConfigError, match="nobody answers"):
                store.read("a")

    @pytest.mark.parametrize(
        "variables", [{}, {"AWS_PROFILE": "nobody"}, {"AWS_ACCESS_KEY_ID": "k"}]
    )
    def test_a_command_says_so_in_one_line_and_ends_with_2(self, tmp_path, variables, free_port):
        server = f"http://127.0.0.1:{free_port()}"
        own = {"HOME": str(tmp_path), "AWS_EC2_METADATA_SERVICE_ENDPOINT": server, **variables}
        done = seedsweep_here("status", "--store", self.URL, folder=tmp_path, environment=own)
        assert done.returncode == 2
        assert " ".join(done.stderr.split()).count("There are no credentials for the store") == 1
        assert "Traceback" not in done.stderr


class TestRenewal:
    @pytest.fixture
    def clock(self, monkeypatch):
        """Set this process's clock forward by so many seconds."""
        passed = [0.0]
        true = time.time
        monkeypatch.setattr(credentials.time, "time", lambda: true() + passed[0])

        def forward(seconds):
            passed[0] += seconds

        return forward

    @pytest.fixture
    def store(self, serve):
        """A store that says with which key it was asked."""
        seen = []
        store = S3Store(f"s3://bucket?endpoint={serve(answering(seen))}", patience=HASTE)

        def ask():
            store.read("a")
            return used_by(seen[-1])

        return ask

    @pytest.fixture(params=["web identity", "role of a profile", "container", "instance"])
    def roles(self, source, request, monkeypatch):
        monkeypatch.setattr(sources, "SERVER", HASTE)
        return source(request.param)

    def test_what_expires_is_fetched_anew_five_minutes_before(self, roles, store, clock):
        assert store() == "key"
        roles.pair = ("new", "secret")
        clock(3600 - 310)
        assert store() == "key"
        clock(20)
        assert store() == "new"
        assert roles.given == 2

    def test_a_short_life_is_halved(self, source, serve, clock):
        roles = source("instance", roles=Roles(life=20))
        store = S3Store(f"s3://bucket?endpoint={serve(answering([]))}")
        for _ in range(5):
            store.read("a")
        assert roles.given == 1
        clock(12)
        store.read("a")
        assert roles.given == 2

    def test_those_held_do_until_they_expire_and_new_ones_from_then_on(
        self, roles, store, clock, caplog
    ):
        assert store() == "key"
        roles.failing = Answer(403)
        clock(3400)
        assert store() == "key"
        assert "stay as they are" in caplog.text
        asked = len(roles.asked)
        assert store() == "key"
        assert len(roles.asked) == asked  # not at every request
        clock(300)
        with pytest.raises(StoreUnavailableError, match=r"no credentials for the store .*HTTP 403"):
            store()
        roles.failing, roles.pair = None, ("new", "secret")
        assert store() == "new"

    def test_many_threads_fetch_once(self, source, serve, clock):
        roles = source("instance")
        store = S3Store(f"s3://bucket?endpoint={serve(answering([]))}")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: store.read("a"), range(40)))
            clock(3400)
            list(pool.map(lambda _: store.read("a"), range(40)))
        assert roles.given == 2

    def test_a_file_that_was_written_anew_is_seen_within_a_minute(
        self, source, serve, tmp_path, clock
    ):
        """As tools do that fetch keys for some hours."""
        source("credentials file")
        seen = []
        store = S3Store(f"s3://bucket?endpoint={serve(answering(seen))}")
        store.read("a")
        (tmp_path / ".aws" / "credentials").write_text(ini("default", ("new", "secret")))
        clock(61)
        store.read("a")
        (tmp_path / ".aws" / "credentials").write_text("half wr")
        clock(61)
        store.read("a")
        assert [used_by(request) for request in seen] == ["key", "new", "new"]

    def test_a_real_server_is_used_on_with_new_keys(self, source, s3_url, keys, clock):
        roles = source("instance", keys)
        store = open_store(s3_url)
        assert store.create("a", b"1")
        clock(3400)
        assert not store.create("a", b"2")
        assert roles.given == 2

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("variables", ConfigError),
            ("credentials file", StoreUnavailableError),
            ("instance", StoreUnavailableError),
        ],
    )
    @pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId"])
    def test_a_service_waits_for_other_credentials_where_they_may_come(
        self, source, serve, name, code, kind
    ):
        source(name)
        fine, refusal = Answer(200, b"data", {"ETag": '"1"'}), s3_error(400, code)
        answers = [refusal]
        url = f"s3://bucket?endpoint={serve(lambda _: answers[-1])}"
        with pytest.raises(ConfigError, match=r"; (renew|correct) "):
            S3Store(url, patience=HASTE).read("a")
        store = S3Store(url, patience=HASTE)
        answers.append(fine)
        store.read("a")
        answers.append(refusal)
        with pytest.raises(kind, match=r"; (renew|correct) "):
            store.read("a")


@pytest.mark.parametrize(
    "name",
    ["web identity", "role of a profile", "pod identity", "instance", "credentials file"],
)
@pytest.mark.parametrize("failing", [None, Answer(503, b"later"), Answer(403)])
def test_no_secret_is_in_what_is_said_or_logged(source, serve, caplog, name, failing, monkeypatch):
    monkeypatch.setattr(sources, "SERVER", HASTE)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    source(name, ("key", "s3cret-of-nobody")).failing = failing
    store = S3Store(f"s3://bucket?endpoint={serve(lambda _: s3_error(403, 'Denied'))}")
    with pytest.raises((ConfigError, StoreUnavailableError)) as caught:
        store.read("a")
    shown = [repr(store), repr(caught.value), repr(caught.value.__context__), caplog.text]
    assert caplog.text
    for secret in ("s3cret-of-nobody", "s3cr%t", TOKEN, "m3tadata-t0ken"):
        assert not any(secret in text for text in shown)
