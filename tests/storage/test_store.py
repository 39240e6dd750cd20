"""What every store promises. A new kind of store is added to these fixtures and nowhere else."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from seedsweep.storage.cloud_store import CloudStore
from seedsweep.storage.errors import ConfigError, StoreUnavailableError
from seedsweep.storage.observed_store import ObservedStore
from seedsweep.storage.stores import open_store
from tests.support.checkout import ROOT

BIG = 8 * 1024 * 1024


@pytest.fixture(params=["file", "s3", "observed", "memory", "azure"])
def kind(request):
    return request.param


@pytest.fixture
def url(request, kind, tmp_path):
    """The URL of the store that other processes open too."""
    if kind == "memory":
        pytest.skip("Only this process sees its own memory.")
    if kind in ("s3", "azure"):
        return request.getfixturevalue(f"{kind}_url")
    return f"file:{tmp_path / 'data'}"


@pytest.fixture
def store(request, kind):
    if kind == "memory":
        return CloudStore("gs://memory", MemoryStore(), "team a/größe=50%41")
    store = open_store(request.getfixturevalue("url"))
    return ObservedStore(store, lambda request: None) if kind == "observed" else store


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
from seedsweep.storage.stores import open_store
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
from seedsweep.storage.stores import open_store
from tests.support.checkout import ROOT
store, letter, keys = open_store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
data = letter.encode() * 5000
print("ready", flush=True)
start = float(sys.stdin.readline())
won = []
for key in range(keys):
    while (left := start + key * 0.008 - time.time()) > 0:
        time.sleep(max(0, left - 0.001))  # the last moment passes awake, so that all begin at once
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
        letter: racer.communicate(timeout=60)[0].split()
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


@pytest.fixture
def written_bytes(request, url):
    """How much of what is being written has reached the disk."""
    if url.startswith("s3:"):
        return request.getfixturevalue("s3_server").stored_bytes
    if url.startswith("az:"):
        pytest.skip("Azurite does not tell what it has received of an object.")
    scratch = Path(url.removeprefix("file:")) / ".writing"
    return lambda: sum(file.stat().st_size for file in scratch.glob("*"))


@pytest.mark.parametrize("mebibytes", [60, 160])
def test_a_writer_killed_in_the_middle_leaves_no_key(
    url, store, kill, wait_until, written_bytes, mebibytes
):
    writer = start(WRITER, url, "dead/writer", "x", str(mebibytes * 1024 * 1024))
    before = written_bytes()
    writer.stdin.write("go\n")
    writer.stdin.flush()
    wait_until(lambda: written_bytes() > before + 1024)
    kill(writer)
    assert writer.stdout.read() == ""
    assert store.read("dead/writer") is None
    assert not store.exists("dead/writer")
    assert list(store.list("")) == []
    assert store.create("dead/writer", b"alive")
    assert store.read("dead/writer") == b"alive"


REFUSED = ["", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", ".hidden", "a/.hidden", "..", "."]
UNUSUAL = ["a\n", "a b", "a\\b", "ä", "a\x00b", "~", "-a"]


@pytest.mark.parametrize("key", [*REFUSED, *UNUSUAL])
def test_a_key_that_could_leave_the_store_is_refused_by_every_method(store, key):
    for call in (
        lambda: store.create(key, b""),
        lambda: store.replace(key, b""),
        lambda: store.read(key),
        lambda: store.read_range(key, 0, 1),
        lambda: store.exists(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(ValueError, match="is not a key"):
            call()


@pytest.mark.parametrize("prefix", ["../", "/", "a/../", ".hidden/", "a//", "a"])
@pytest.mark.parametrize("method", ["list", "folders"])
def test_a_prefix_that_is_no_key_and_a_slash_is_refused(store, method, prefix):
    with pytest.raises(ValueError, match="is not a key"):
        list(getattr(store, method)(prefix))


def test_listing_names_the_keys_below_a_prefix_in_order(store):
    for key in ["b/2", "b/10", "a/x/1", "b/c/1", "bc/1", "top"]:
        store.create(key, b"")
    assert list(store.list("b/")) == ["b/10", "b/2", "b/c/1"]
    assert list(store.list("b/c/")) == ["b/c/1"]
    assert sorted(store.list("")) == ["a/x/1", "b/10", "b/2", "b/c/1", "bc/1", "top"]


def test_a_listing_is_whole_however_long(store):
    keys = [f"many/{number:04}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda key: store.create(key, b""), keys))
    assert list(store.list("many/")) == keys


def test_folders_names_what_is_right_below_a_prefix_in_order(store):
    for key in ["a/b/1", "a/b-c/1", "a/b.c/2/3", "a/B/1", "a/b0/1", "a/0", "ab/c/1"]:
        store.create(key, b"")
    assert list(store.folders("a/")) == ["B", "b", "b-c", "b.c", "b0"]
    assert list(store.folders("a/b.c/")) == ["2"]
    assert list(store.folders("")) == ["a", "ab"]


def test_where_there_is_no_folder_none_is_named(store):
    store.create("a/b", b"")
    assert list(store.folders("a/")) == []
    assert list(store.folders("c/")) == []


def test_the_part_of_an_object_that_is_asked_for_is_read(store):
    store.create("a/b", b"0123456789")
    assert store.read_range("a/b", 2, 3) == b"234"
    assert store.read_range("a/b", -4, 4) == b"6789"
    assert store.read_range("a/b", -4, 2) == b"67"
    assert store.read_range("a/b", 8, 100) == b"89"
    assert store.read_range("a/c", 0, 1) is None
    assert store.read_range("a/c", -1, 1) is None
    assert store.read_range("a", 0, 1) is None


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.sampled_from([0, 1, 2, 1000]),
    start=st.integers(-1100, 1100),
    length=st.integers(0, 2000),
)
def test_a_range_is_what_slicing_gives(store, size, start, length):
    data = bytes(number % 251 for number in range(size))
    store.create(f"of/{size}", data)
    assert store.read_range(f"of/{size}", start, length) == data[start:][:length]


def test_a_store_tells_that_it_is_create_only_and_what_its_clock_says(store):
    facts = store.inspect()
    assert facts.conditional_create
    assert abs(facts.clock_skew_seconds) < 2
    assert list(store.list("")) == []
    assert list(store.folders("")) == []


def test_many_threads_share_one_store(store):
    def race(number):
        return store.create(f"race/{number % 20}", str(number).encode() * 1000)

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, mine in enumerate(pool.map(race, range(80))) if mine]
    assert len(won) == 20
    for number in won:
        assert store.read(f"race/{number % 20}") == str(number).encode() * 1000


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


def test_the_store_opens_again_from_its_own_url(url, store):
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

    def test_files_and_folders_whose_names_are_no_keys_are_left_out(self, tmp_path):
        store = open_store(f"file:{tmp_path}")
        store.create("a/b", b"")
        for name in ("a/c d", "my notes/e", "_x/f", "a/_g/h", "a/é"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        assert list(store.list("")) == ["a/b"]
        assert list(store.folders("")) == ["a"]
        assert list(store.folders("a/")) == []

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


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:runs#2", "write %3F and %23"),
        ("file:runs?2", "write %3F and %23"),
        ("file:~/runs", "write file:.HOME/FOLDER"),
        ("~/runs", "write file:.HOME/FOLDER"),
        ("runs-\udce9", "is not UTF-8"),
    ],
)
def test_a_folder_that_nobody_meant_is_refused(url, why):
    """Without that, stores of several names are one, and one lies in a folder called ~."""
    with pytest.raises(ConfigError, match=why):
        open_store(url)


@pytest.mark.parametrize("name", ["./12:30", "a/b:c", "a#b", "a?b", "~a", "a/~/b"])
def test_a_bare_path_is_a_folder_whatever_stands_in_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert open_store(name).root == tmp_path / name
