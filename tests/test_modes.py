"""What other users of the machine may read of what seedsweep leaves on it.

A store follows the umask, as the folder of a group does; logs, caches and whatever a broker of ours
needs are this user's alone, whatever the umask.
"""

import os
import stat
from pathlib import Path

import pytest

from seedsweep.scheduler.services.embedded_broker import embedded_broker
from seedsweep.scheduler.services.local_run import log_folder
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.workers.host_cache import make_once, make_room
from seedsweep.workers.training.fingerprint import _keep


@pytest.fixture(params=[0o022, 0o077, 0o002], ids="{:03o}".format)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder):
    """Of the folder and of all in it, by path below it."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def test_a_store_follows_the_umask(tmp_path, umask):
    store = FolderStore(tmp_path / "store")
    store.create("shards/a", b"a")
    store.replace("campaigns/b", b"b")
    kinds = {True: 0o777 & ~umask, False: 0o666 & ~umask}
    found = modes(store.root)
    assert len(found) == 6
    assert all(mode == kinds[(store.root / path).is_dir()] for path, mode in found.items())


def test_logs_are_this_users_alone(tmp_path, umask):
    folder = log_folder(FolderStore(tmp_path / "store"), "c")
    with embedded_broker(folder) as (_, broker):
        assert broker.log.parent == folder
    assert modes(folder)["."] == 0o700


def test_logs_that_cannot_be_written_are_refused_with_what_to_do(tmp_path):
    (tmp_path / ".logs").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"\.logs/c; have it made yours, or name a store"):
        log_folder(FolderStore(tmp_path), "c")


def test_a_brokers_folder_and_password_are_this_users_alone(tmp_path, umask, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with embedded_broker(tmp_path):
        [folder] = tmp_path.glob("ssbroker-*")
        assert modes(folder) == {".": 0o700, "broker.conf": 0o600}


@pytest.mark.parametrize("make", ["model", "fingerprint"])
def test_a_cache_is_this_users_alone(tmp_path, umask, monkeypatch, make):
    cache = tmp_path / "home" / "seedsweep"
    monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(cache))
    if make == "model":
        make_once(cache / "models" / "m", lambda folder: (folder / "f").write_bytes(b"x"))
    else:
        _keep("0" * 64, "1" * 64)
    assert modes(cache)["."] == 0o700
    assert len(modes(cache)) > 2


def test_a_cache_that_was_made_for_a_group_stays_the_groups(tmp_path, monkeypatch):
    cache = Path(tmp_path / "shared")
    cache.mkdir()
    cache.chmod(0o2775)
    monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(cache))
    make_room(cache / "models" / "m")
    assert modes(cache)["."] == 0o2775
