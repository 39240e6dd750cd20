"""Passwords and keys stay where they belong: a deployment that meets every trouble repeats none.

Each secret is made of parts that occur nowhere else, with special characters between them, so that
one search finds it whole, percent-encoded, or cut to pieces by whoever could not read it.
"""

import base64
import contextlib
import io
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from seedsweep.storage.ledger import Ledger
from seedsweep.storage.stores import open_store
from tests.support.campaigns import campaign_text, small_sampling
from tests.support.commands import seedsweep_here
from tests.support.deployment import Deployment, write_campaign
from tests.support.proxy import Faults
from tests.support.servers import free_ports, wait_until

OWN_PLACES = ("broker/broker.conf", "s3/s3.json", "s3/data/")
"""Where the servers have their secrets from; the store's data are read through its door."""

BROKEN = "def draw(*_):\n    raise RuntimeError('no such kernel')\n"
PAGES = ("metrics", "targets", "healthz", "readyz")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret and the parts of it that are searched for."""

    parts: tuple[str, ...]
    text: str

    @property
    def forms(self):
        """What is searched for: each part as it is, and in base64, as Ray has settings."""
        for part in map(str.encode, self.parts):
            yield part
            yield from (base64.b64encode(b"-" * n + part)[4 if n else 0 : -4] for n in range(3))

    @property
    def encoded(self):
        return quote(self.text, safe="")


def make_secret(between=""):
    """Make a secret of one part more than characters go between them."""
    parts = tuple(secrets.token_hex(6) for _ in range(len(between) + 1))
    mixed = (part + mark for part, mark in zip(parts, [*between, ""], strict=True))
    return Secret(parts, "".join(mixed))


@dataclass(frozen=True, slots=True)
class Known:
    """Every secret of the deployment, and wrong ones that people gave instead."""

    broker: Secret = field(default_factory=lambda: make_secret("/#;@%+ :?"))
    store: Secret = field(default_factory=lambda: make_secret("/+="))
    ray: Secret = field(default_factory=make_secret)
    hub: Secret = field(default_factory=make_secret)
    wrong_broker: Secret = field(default_factory=lambda: make_secret("/#"))
    wrong_store: Secret = field(default_factory=lambda: make_secret("/+"))
    wrong_ray: Secret = field(default_factory=make_secret)

    def found_in(self, places):
        """Say of each place, a name and its bytes, which secrets it holds."""
        return [
            f"{place} holds a part of the {name} secret"
            for place, content in places
            for name in self.__dataclass_fields__
            if any(form in content for form in getattr(self, name).forms)
        ]


class CommandLines:
    """Collects the command lines of all processes on this machine, short-lived ones among them:
    what imports our code lives for longer than there is between two looks."""

    def __init__(self):
        self._seen, self._closing = set(), threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._closing.set()
        self._thread.join()

    def __iter__(self):
        return iter(set(self._seen))

    def _watch(self):
        while not self._closing.wait(0.3):
            self._seen.update(command_lines())


def command_lines():
    """Those of all processes that run on this machine now."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield file.read_bytes()


class Guarded:
    """A deployment with secrets, and all that it showed: outputs, pages, command lines."""

    def __init__(self, known, deployment, lines):
        self.known, self.deployment, self.lines = known, deployment, lines
        self.said, self.pages, self.ports = {}, {}, {}

    def command_here(self, name, *arguments, **environment):
        """Run a command in this process; returns what it said."""
        environment = self.deployment.environment | environment
        finished = seedsweep_here(
            *arguments, folder=self.deployment.folder, environment=environment
        )
        said = finished.stdout + finished.stderr
        self.said[name] = said.encode()
        return said

    def command(self, name, *arguments, **environment):
        """Run a command in a process of its own, to its end, whatever that is."""
        finished = subprocess.run(
            [sys.executable, "-m", "seedsweep.cli", *arguments],
            cwd=self.deployment.folder,
            env=self.deployment.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        self.said[name] = finished.stdout
        return finished.stdout.decode()

    def serve(self, name, *arguments):
        (self.ports[name],) = free_ports(1)
        self.deployment.start(name, *arguments, "--metrics-port", str(self.ports[name]))

    def look_at_pages(self, when):
        for service, port in self.ports.items():
            for page in PAGES:
                url = f"http://127.0.0.1:{port}/{page}"
                try:
                    with urllib.request.urlopen(url, timeout=60) as answer:
                        content = answer.read()
                except urllib.error.HTTPError as error:
                    content = error.read()
                self.pages[f"{service}/{page} {when}"] = content

    def log_of(self, name):
        return self.deployment.services[name].log.read_text()

    def places(self):
        """Everywhere that a secret might have got to: a name and the bytes there."""
        yield from self.said.items()
        yield from self.pages.items()
        yield from ((f"the command line {line[:80]!r}", line) for line in self.lines)
        yield from files_below(self.deployment.folder)
        yield from stored_objects(self.deployment.store_url)
        yield from broker_values(self.deployment.direct_broker_url)


def files_below(folder):
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith(OWN_PLACES):
            yield name, path.read_bytes()


def stored_objects(url):
    """Every object with its key; of Parquet also the values, which may be compressed."""
    store = open_store(url)
    for key in store.list(""):
        data = store.read(key) or b""  # one that was merged since it was listed is gone
        values = (
            str(pq.read_table(io.BytesIO(data)).to_pylist())
            if data and key.endswith("parquet")
            else ""
        )
        yield key, key.encode() + data + values.encode()


def broker_values(url):
    """Every key with what DUMP gives of it, and the texts in it, which that may compress."""
    reads = {
        "string": lambda key: client.get(key),
        "hash": lambda key: client.hgetall(key),
        "set": lambda key: client.smembers(key),
        "zset": lambda key: client.zrange(key, 0, -1),
        "list": lambda key: client.lrange(key, 0, -1),
        "none": lambda key: "",  # it has expired since it was named
    }
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        for key in client.scan_iter():
            values = reads[client.type(key).decode()](key)
            yield f"broker: {key!r}", key + repr(values).encode()


@pytest.fixture(scope="module")
def guarded():
    """A deployment that made a campaign and met every trouble on the way; it still runs."""
    known = Known()
    # A short path, as Ray's sockets lie below it.
    with (
        tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as folder,
        pytest.MonkeyPatch.context() as e,
    ):
        deployment = Deployment(Path(folder), seed=0, password=known.broker.text)
        deployment.s3.secret_key = known.store.text
        for name, value in deployment.s3.environment.items():
            e.setenv(name, value)
        deployment.environment |= environment_of(deployment, known)
        with CommandLines() as lines, deployment:
            guarded = Guarded(known, deployment, lines)
            try:
                go_through_everything(guarded)
                yield guarded
            except BaseException:
                print(deployment.logs())
                raise


def environment_of(deployment, known):
    (closed,) = free_ports(1)
    ray_folder = deployment.folder / "r"
    ray_folder.mkdir()
    return {
        **deployment.s3.environment,
        "PYTHONPATH": f"{deployment.environment['PYTHONPATH']}:{deployment.folder}",
        "SEEDSWEEP_ALLOW_PYTHON": "broken:draw",
        "SEEDSWEEP_CACHE_DIR": str(deployment.folder / "cache"),
        "RAY_TMPDIR": str(ray_folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": known.ray.text,
        "HF_TOKEN": known.hub.text,
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": f"http://127.0.0.1:{closed}",
    }


def go_through_everything(guarded):
    deployment = guarded.deployment
    write_broken_campaigns(deployment.folder)
    open_store(deployment.store_url).create_bucket()
    guarded.serve("scheduler", "scheduler")
    guarded.serve("analyst", "analyst")
    guarded.serve("worker", "worker", "--devices", "cpu")
    said = guarded.command_here("submit broken", "submit", "broken.toml")
    broken_id = re.search(r"^broken-\w+$", said, re.MULTILINE)[0]
    ledger = Ledger(deployment.direct_broker_url)
    wait_until(lambda: (counts := ledger.counts(broken_id)) and counts.parked, timeout=60)

    file = write_campaign(deployment.folder, "small", seeds=200)
    campaign_id = guarded.command("submit", "submit", str(file)).split()[-1]
    wait_until(lambda: (counts := ledger.counts(campaign_id)) and counts.done, timeout=60)
    have_the_store_refuse(guarded)
    have_the_broker_die(guarded)
    give_what_is_wrong(guarded)
    wait_until(lambda: ledger.counts(campaign_id).settled, timeout=60)
    guarded.look_at_pages("at the end")
    for words in ("status", "status --json", "workers --json", f"check {campaign_id}"):
        guarded.command_here(words, *words.split())
    guarded.command_here("results", "results", campaign_id, "--json", "--csv", "results.csv")
    guarded.command_here("report", "report", campaign_id, "-o", "report")


def write_broken_campaigns(folder):
    (folder / "broken.py").write_text(BROKEN)
    (folder / "one.txt").write_text("a cat")
    tables = {"prompts": {"file": "one.txt"}, "sampling": small_sampling(2, 8)}
    for name, model in (
        ("broken", {"pipeline": "python", "path": "broken:draw"}),
        ("hub", {"path": "a/b"}),
    ):
        text = campaign_text("broken", model=model, **tables)
        (folder / f"{name}.toml").write_text(text)


def have_the_store_refuse(guarded):
    proxy = guarded.deployment.s3_proxy
    proxy.faults = Faults(refuse=True)
    for name in ("scheduler", "worker"):
        wait_until(lambda name=name: "The store s3://" in guarded.log_of(name), timeout=60)
    guarded.command_here("status without a store", "status")
    guarded.look_at_pages("without a store")
    proxy.heal()
    # Only then does it tell what is away next.
    wait_until(lambda: "Broker and store answer again" in guarded.log_of("scheduler"), timeout=60)


def have_the_broker_die(guarded):
    deployment = guarded.deployment
    deployment.services["broker"].kill()
    for name in ("scheduler", "analyst", "worker"):
        wait_until(lambda name=name: "The broker does not" in guarded.log_of(name), timeout=60)
    wait_until(lambda: "No units are taken for now" in guarded.log_of("worker"), timeout=60)
    guarded.command_here("workers without a broker", "workers")
    guarded.look_at_pages("without a broker")
    deployment.start_broker()


def ray_address(folder):
    """Where the analyst's Ray listens, which has its files in the folder."""
    (line,) = (line for line in command_lines() if b"raylet\0" in line and folder.encode() in line)
    return re.search(b"--gcs-address=([0-9.:]+)", line)[1].decode()


def give_what_is_wrong(guarded):
    """Passwords that are wrong, or not encoded, a wrong secret key and token, and an absent hub."""
    known, deployment = guarded.known, guarded.deployment
    url = deployment.broker_url
    wrong = {"SEEDSWEEP_BROKER_URL": url.replace(known.broker.encoded, known.wrong_broker.encoded)}
    raw = {"SEEDSWEEP_BROKER_URL": url.replace(known.broker.encoded, known.broker.text)}
    ray = ray_address(deployment.environment["RAY_TMPDIR"])
    wrong_ray = {"SEEDSWEEP_RAY_ADDRESS": ray, "RAY_AUTH_TOKEN": known.wrong_ray.text}
    (closed,) = free_ports(1)
    no_ray = {"SEEDSWEEP_RAY_ADDRESS": f"127.0.0.1:{closed}"}
    wrong_store = {"AWS_SECRET_ACCESS_KEY": known.wrong_store.text}
    guarded.command_here("status with a wrong password", "status", **wrong)
    guarded.command_here("status with a raw password", "status", **raw)
    guarded.command("worker with a raw password", "worker", "--device", "cpu", **raw)
    guarded.command_here("status with a wrong key", "status", **wrong_store)
    all_wrong = {**wrong, **wrong_ray, **wrong_store}
    guarded.command_here("doctor with all of it wrong", "doctor", **all_wrong)
    guarded.command_here("doctor", "doctor", **no_ray)
    guarded.command("submit without a hub", "submit", "hub.toml")


def test_every_trouble_was_met_and_told(guarded):
    """Otherwise it would say little that nothing leaked."""
    said = {name: output.decode() for name, output in guarded.said.items()}
    assert "does not answer" in said["workers without a broker"]
    assert "could not list" in said["status without a store"]
    assert "percent-encoded" in said["status with a raw password"]
    assert "percent-encoded" in said["worker with a raw password"]
    assert "wrong secret key" in said["status with a wrong key"]
    doctor = said["doctor with all of it wrong"]
    for word in ("refuses the user or password", "wrong secret key", "another token"):
        assert word in doctor
    assert "hub" in said["submit without a hub"]
    assert "no such kernel" in guarded.log_of("worker")
    assert "small-" in said["status --json"]
    lines = b"\n".join(guarded.lines)
    supervised = b"\0worker\0--device\0cpu\0"
    for program in (b"raylet", b"gcs_server", b"valkey", supervised, b"ray::", b"submit"):
        assert program in lines


def test_no_secret_is_told_anywhere(guarded):
    guarded.look_at_pages("now")
    assert guarded.known.found_in(guarded.places()) == []


def test_the_search_finds_what_is_planted_in_each_kind_of_place(guarded):
    deployment, (part, *_) = guarded.deployment, guarded.known.store.parts
    folder, store = deployment.folder, open_store(deployment.store_url)
    (folder / "planted.log").write_text(f"redis://:{part}@")
    (folder / "report" / "planted.html").write_text(f"<a href='?key={part}'>")
    encoded = base64.b64encode(f'{{"url": "redis://:{part}@host"}}'.encode())
    (Path(deployment.environment["RAY_TMPDIR"]) / "planted.out").write_bytes(encoded)
    store.create("planted", f"- {part} -".encode())
    store.create("planted.parquet", compressed(part))
    guarded.command("planted command", "status", part)
    guarded.pages["planted page"] = part.encode()
    with contextlib.closing(redis.Redis.from_url(deployment.direct_broker_url)) as broker:
        broker.hset("planted", "url", f"redis://:{part}@host")
    leaks = guarded.known.found_in(guarded.places())
    for place in (
        *("planted.log", "report/planted.html", "r/planted.out", "planted", "planted.parquet"),
        *("planted page", "planted command", "broker: b'planted'", "the command line"),
    ):
        assert [leak for leak in leaks if leak.startswith(place)], place
    assert all(leak.endswith("holds a part of the store secret") for leak in leaks)


def compressed(text):
    """A Parquet whose bytes do not show the text."""
    file = io.BytesIO()
    pq.write_table(
        pa.table({"text": [text] * 99}), file, compression="gzip", write_statistics=False
    )
    assert text.encode() not in file.getvalue()
    return file.getvalue()
