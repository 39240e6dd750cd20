"""What every store promises. A new kind of store is added to `url` and nowhere else."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from storage.errors import ConfigError, StoreUnavailableError
from storage.store import open_store

ROOT = Path(__file__).parents[2]
BIG = 8 * 1024 * 1024


@pytest.fixture(params=["file"])
def url(request, tmp_path):
    return {"file": f"file:{tmp_path / 'data'}"}[request.param]


@pytest.fixture
def store(url):
    return open_store(url)


def start(code, *arguments):
    """Run code in another process that waits for a line on its stdin after it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


WRITER = """
import sys
from storage.store import open_store
store, (key, letter, size) = open_store(sys.argv[1]), sys.argv[2:5]
data = letter.encode() * int(size)
print("ready", flush=True)
sys.stdin.readline()
print(store.create(key, data), flush=True)
"""


def test_what_was_written_is_read_back_whole(store):
    assert store.create("a/b.bin", b"\x00\r\n\xff" * 1000)
    assert store.read("a/b.bin") == b"\x00\r\n\xff" * 1000
    assert store.exists("a/b.bin")


def test_an_empty_object_is_an_object(store):
    assert store.create("a", b"")
    assert store.read("a") == b""
    assert store.exists("a")


def test_a_key_that_was_never_written_is_none_and_not_there(store):
    assert store.read("a/b") is None
    assert not store.exists("a/b")
    assert list(store.list("")) == []
    assert list(store.list("a/")) == []


def test_a_folder_of_other_keys_is_no_object(store):
    store.create("a/b", b"1")
    assert store.read("a") is None
    assert not store.exists("a")


def test_a_second_create_is_refused_and_changes_nothing(store):
    assert store.create("a", b"first")
    assert not store.create("a", b"second")
    assert store.read("a") == b"first"


RACER = """
import sys, time
from storage.store import open_store
store, letter, keys = open_store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
data = letter.encode() * 5000
print("ready", flush=True)
start = float(sys.stdin.readline())
won = []
for key in range(keys):
    while time.time() < start + key * 0.008:
        pass
    if store.create(f"race/{key}", data):
        won.append(str(key))
print(*won, flush=True)
"""


def test_exactly_one_of_several_racing_processes_wins_each_key(url, store):
    letters, keys = "abc", 80
    racers = [start(RACER, url, letter, str(keys)) for letter in letters]
    at = time.time() + 0.05
    for racer in racers:
        racer.stdin.write(f"{at}\n")
        racer.stdin.flush()
    won = {
        letter: racer.communicate(timeout=10)[0].split()
        for letter, racer in zip(letters, racers, strict=True)
    }
    assert sorted(int(key) for part in won.values() for key in part) == list(range(keys))
    for letter, part in won.items():
        for key in part:
            assert store.read(f"race/{key}") == letter.encode() * 5000
    assert len(list(store.list(""))) == keys


@pytest.mark.parametrize("write", ["create", "replace"])
def test_a_reader_sees_nothing_or_the_whole_of_a_big_object(store, write):
    data = b"x" * BIG
    writer = threading.Thread(target=getattr(store, write), args=("big/object", data))
    seen = set()
    writer.start()
    while writer.is_alive():
        found = store.read("big/object") if store.exists("big/object") else None
        seen.add(None if found is None else len(found))
    writer.join()
    assert seen <= {None, BIG}
    assert store.read("big/object") == data


def test_a_reader_sees_the_old_or_the_new_of_a_replaced_object(store):
    old, new = b"o" * BIG, b"n" * (BIG + 1)
    store.create("a", old)
    writer = threading.Thread(target=store.replace, args=("a", new))
    seen = set()
    writer.start()
    while writer.is_alive():
        found = store.read("a")
        assert found in (old, new)
        seen.add(len(found))
    writer.join()
    assert store.read("a") == new


def test_a_writer_killed_in_the_middle_leaves_no_key(url, store, kill, wait_until):
    size = 128 * 1024 * 1024
    writer = start(WRITER, url, "dead/writer", "x", str(size))
    writer.stdin.write("go\n")
    writer.stdin.flush()
    if url.startswith("file:"):
        scratch = Path(url.removeprefix("file:")) / ".writing"
        wait_until(lambda: scratch.is_dir() and any(f.stat().st_size for f in scratch.iterdir()))
    kill(writer)
    assert writer.stdout.read() == ""
    assert store.read("dead/writer") is None
    assert not store.exists("dead/writer")
    assert list(store.list("")) == []
    assert store.create("dead/writer", b"alive")
    assert store.read("dead/writer") == b"alive"
    if url.startswith("file:"):
        for leftover in scratch.iterdir():
            leftover.unlink()


REFUSED = ["", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", ".hidden", "a/.hidden", "..", "."]
UNUSUAL = ["a\n", "a b", "a\\b", "ä", "a\x00b", "~", "-a"]


@pytest.mark.parametrize("key", [*REFUSED, *UNUSUAL])
def test_a_key_that_could_leave_the_store_is_refused_by_every_method(store, key):
    for call in (
        lambda: store.create(key, b""),
        lambda: store.replace(key, b""),
        lambda: store.read(key),
        lambda: store.exists(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(ValueError, match="is not a key"):
            call()


@pytest.mark.parametrize("prefix", ["../", "/", "a/../", ".hidden/"])
def test_a_prefix_that_could_leave_the_store_is_refused(store, prefix):
    with pytest.raises(ValueError, match="is not a key"):
        list(store.list(prefix))


def test_listing_names_the_keys_below_a_prefix_in_order(store):
    for key in ["b/2", "b/10", "a/x/1", "b/c/1", "bc/1", "top"]:
        store.create(key, b"")
    assert list(store.list("b/")) == ["b/10", "b/2", "b/c/1"]
    assert list(store.list("b/c/")) == ["b/c/1"]
    assert sorted(store.list("")) == ["a/x/1", "b/10", "b/2", "b/c/1", "bc/1", "top"]


def test_replace_writes_whether_or_not_the_key_exists(store):
    store.replace("a/b", b"one")
    assert store.read("a/b") == b"one"
    store.replace("a/b", b"two")
    assert store.read("a/b") == b"two"


def test_a_deleted_key_is_gone_and_can_be_created_again(store):
    store.create("a/b", b"one")
    store.delete("a/b")
    assert store.read("a/b") is None
    assert list(store.list("")) == []
    assert store.create("a/b", b"two")


def test_deleting_what_is_not_there_is_fine(store):
    store.delete("a/b")
    store.create("a/c", b"")
    store.delete("a/b")
    assert list(store.list("")) == ["a/c"]


def test_the_store_opens_again_from_its_own_url(store):
    store.create("a", b"1")
    assert open_store(store.url).read("a") == b"1"


class TestFolder:
    """What holds for `file:` alone."""

    @pytest.mark.parametrize("name", ["with space", "50%41", "a#b", "a?b", "größe"])
    def test_any_folder_name_survives_the_way_through_the_url(self, tmp_path, name):
        store = open_store(str(tmp_path / name))
        store.create("a", b"1")
        assert [folder.name for folder in tmp_path.iterdir()] == [name]
        assert open_store(store.url).read("a") == b"1"

    def test_a_bare_path_a_relative_url_and_a_full_url_name_the_same_folder(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        open_store("data").create("a", b"1")
        for url in ["./data", "file:data", "file:./data", f"file:{tmp_path}/data"]:
            assert open_store(url).read("a") == b"1"
        assert open_store(f"file://{tmp_path}/data").read("a") == b"1"
        assert open_store(f"file://localhost{tmp_path}/data").read("a") == b"1"

    def test_opening_a_store_makes_no_folder(self, tmp_path):
        store = open_store(f"file:{tmp_path}/data")
        assert list(store.list("")) == []
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "call",
        [
            lambda store: store.create("a/b", b""),
            lambda store: store.replace("a/b", b""),
            lambda store: store.read("a/b"),
            lambda store: list(store.list("")),
            lambda store: store.delete("a/b"),
        ],
    )
    def test_a_folder_that_cannot_be_used_is_reported_in_one_sentence(self, tmp_path, call):
        blocked = tmp_path / "file"
        blocked.write_text("no folder")
        with pytest.raises(StoreUnavailableError) as caught:
            call(open_store(f"file:{blocked}"))
        assert str(blocked) in str(caught.value)
        assert str(caught.value).endswith("check the folder's permissions and free space.")

    def test_a_failed_write_leaves_nothing_behind(self, tmp_path):
        (tmp_path / "a").write_text("a file where a folder should be")
        with pytest.raises(StoreUnavailableError):
            open_store(f"file:{tmp_path}").create("a/b", b"data")
        assert list((tmp_path / ".writing").iterdir()) == []

    def test_what_a_killed_writer_left_a_day_ago_is_swept_and_newer_is_not(self, tmp_path):
        scratch = tmp_path / ".writing"
        scratch.mkdir()
        (scratch / "old").write_bytes(b"half")
        (scratch / "new").write_bytes(b"half")
        yesterday = time.time() - 25 * 3600
        os.utime(scratch / "old", (yesterday, yesterday))
        open_store(f"file:{tmp_path}").create("a", b"")
        assert [file.name for file in scratch.iterdir()] == ["new"]


@pytest.mark.parametrize(
    "url", ["gopher://host/path", "redis://localhost", "", "file:", "file://folder", "file://a/b"]
)
def test_a_url_that_names_no_store_is_a_configuration_error(url):
    with pytest.raises(ConfigError, match="file:FOLDER"):
        open_store(url)
