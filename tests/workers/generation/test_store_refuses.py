"""A store that refuses to write is said where people look, until it writes again.

The stores are real: a disk that is full or read-only, and an S3 server whose proxy answers as full
ones do. What is said is what `status`, `seedsweep workers`, /readyz and the alerts are made from.
"""

import re
import subprocess
from functools import partial

import pytest

from seedsweep.scheduler.campaign.progress import Broker, read_progress, read_services
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.s3.connection import Patience
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.generation import heartbeat, shard_writer
from seedsweep.workers.generation.renderer import Renderer
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.monitoring import health, http_pages, store_watch
from seedsweep.workers.monitoring.campaign_collector import registry_of
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.campaigns import make_campaign, make_submission, nothing_done
from tests.support.disks import small_disk
from tests.support.proxy import STORAGE_FULL, Faults, HttpError

HASTE = Patience(again=0.2, backoff=0.001)
NOTHING_LOST = "Nothing is lost: 1 worker waits for it."
ANSWERS = {
    "full": (STORAGE_FULL, "XMinioStorageFull: .*; give it space"),
    "quota": (HttpError(403, "QuotaExceeded", "told"), "QuotaExceeded: told.*; give it space"),
    "bucket quota": (
        HttpError(400, "XMinioAdminBucketQuotaExceeded", "told"),
        "BucketQuotaExceeded: told.*; give it space",
    ),
    "slow down": (HttpError(503, "SlowDown", "told"), "SlowDown: told.*; look at its server"),
    "read-only": (HttpError(403, "AccessDenied", "told"), "let this access key read, write"),
}


@pytest.fixture(autouse=True)
def in_haste(monkeypatch):
    """A worker that beats and tries again all the time, in a process that was well."""
    monkeypatch.setattr(health, "_begun", {})
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(shard_writer, "RETRY_SECONDS", 0.02)
    for name, empty in (("_failing", {}), ("_slow", {}), ("_watched", [])):
        monkeypatch.setattr(store_watch, name, empty)


class Seen:
    """What people see of a campaign of one unit, whose worker has this store."""

    def __init__(self, store, ledger, broker_url, make_unit):
        self.store, self.campaign = store, make_campaign(seeds=3)
        self.ledger, self.broker = ledger, Broker.at(broker_url)
        store_campaign(store, make_submission(self.campaign), ["a cat"])
        ledger.restore(self.campaign.campaign_id, nothing_done(1))
        token, (index,) = ledger.issue(self.campaign.campaign_id, 1)
        self.unit = make_unit(self.campaign, index=index, token=token)
        workforce = Workforce(broker_url, trouble=store_watch.trouble)
        self.worker = Renderer(store_watch.watched(store), ledger, workforce, "worker-under-test")

    @property
    def told(self):
        """What `status` says of the store, in this campaign and of the services."""
        services = read_services(self.broker)
        stuck = read_progress(self.store, self.campaign.campaign_id, self.broker, services).stuck
        assert [said for said in stuck if NOTHING_LOST in said] == [*services.trouble]
        return "".join(services.trouble)

    @property
    def readyz(self):
        answers = []
        page = http_pages._health(vital=False)
        text = page({}, lambda status, _: answers.append(status))
        return answers[0], b"".join(text).decode()

    @property
    def shown(self):
        """What is shown to the alert."""
        labels = {"kind": "write"}
        return registry_of("worker").get_sample_value("seedsweep_store_trouble", labels)

    @property
    def is_done(self):
        return self.ledger.counts(self.campaign.campaign_id).done == 1


@pytest.fixture
def see(ledger, broker_url, make_unit):
    seen = []

    def see(store):
        seen.append(Seen(store, ledger, broker_url, make_unit))
        return seen[-1]

    yield see
    for each in seen:
        each.worker.close()


def assert_said_and_healed(seen, heal, words, wait_until):
    """The trouble is said everywhere until it is healed; the unit is stored then."""
    seen.worker.render(seen.unit)
    said = wait_until(lambda: seen.told)
    assert re.search(words, said), said
    assert said.endswith(NOTHING_LOST)
    assert "shards/" not in said
    status, page = seen.readyz
    assert status == "503 Service Unavailable"
    assert re.search(words, page)
    assert seen.shown == 1
    assert not seen.is_done
    heal()
    wait_until(lambda: seen.is_done)
    wait_until(lambda: not seen.told)
    assert seen.readyz == ("200 OK", "fine\n")
    assert seen.shown == 0


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_s3_store_that_refuses_to_write(see, proxied_url, s3_proxy, wait_until, answer):
    error, words = ANSWERS[answer]
    store = S3Store(proxied_url, patience=HASTE)
    seen = see(store)
    store.create("known/already", b"")
    s3_proxy.faults = Faults(errors=1.0, error=error, only="PUT")
    assert_said_and_healed(seen, s3_proxy.heal, words, wait_until)


def test_a_slow_s3_store_is_said_while_it_keeps_a_worker_waiting(
    see, s3_url, proxied_url, s3_proxy, wait_until, monkeypatch
):
    monkeypatch.setattr(store_watch, "SLOW_SECONDS", 0.05)
    store = S3Store(proxied_url)
    seen = see(store)
    seen.store = S3Store(s3_url)
    store.create("known/already", b"")
    generations = load_pipeline(seen.store, seen.campaign, "cpu", 1).generate("a cat", range(3))
    s3_proxy.faults = Faults(black_hole=True)
    encode = partial(encode_unit, seen.unit, generations)
    seen.worker._writer.put(seen.unit, unit_shard(seen.unit), encode, seen.worker._stored)
    said = wait_until(lambda: seen.told)
    assert re.search(r"is slow: it has not answered for \d+ s; look at its server", said)
    assert said.endswith(NOTHING_LOST)
    assert seen.readyz[0] == "200 OK"
    assert "is slow" in seen.readyz[1]
    s3_proxy.heal()
    wait_until(lambda: seen.is_done)


def test_a_full_disk(see, tmp_path, wait_until):
    with small_disk(tmp_path / "disk", "256k") as disk:
        seen = see(FolderStore(disk / "store"))
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(1_000_000))
        words = r"could not write objects \(No space left on device\); check .* free space"
        assert_said_and_healed(seen, ballast.unlink, words, wait_until)
        seen.worker.close()


def test_a_disk_that_turned_read_only(see, tmp_path, wait_until):
    with small_disk(tmp_path / "disk", "256k") as disk:
        seen = see(FolderStore(disk / "store"))

        def remount(how):
            subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)  # noqa: S607

        remount("ro")
        words = r"could not write objects \(Read-only file system\); check .* permissions"
        assert_said_and_healed(seen, lambda: remount("rw"), words, wait_until)
        seen.worker.close()


def test_a_folder_that_is_none_any_more(see, tmp_path, wait_until):
    """What anybody can try, who may mount no disk."""
    seen = see(FolderStore(tmp_path / "store"))
    scratch, aside = tmp_path / "store" / ".writing", tmp_path / "aside"
    scratch.rename(aside)
    scratch.write_bytes(b"in the way")

    def heal():
        scratch.unlink()
        aside.rename(scratch)

    words = r"could not write objects \((File exists|Not a directory)\); check"
    assert_said_and_healed(seen, heal, words, wait_until)
