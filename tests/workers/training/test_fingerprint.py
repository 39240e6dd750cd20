"""A training set is hashed once, and never taken for the one that it was."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.training import fingerprint, index
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.index import load_training_set
from seedsweep.workers.training.pictures import read_pictures
from seedsweep.workers.training.slices import PictureColumn, look_into
from tests.support.pictures import data_of, write_parquet


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """An empty cache of this host, which trusts files that were changed just now."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(folder))
    monkeypatch.setattr(fingerprint, "SETTLED_SECONDS", 0.0)
    return folder


@pytest.fixture
def hashed(monkeypatch):
    """How often a set was read to be hashed."""
    times = []
    read = fingerprint._hash

    def noted(files):
        times.append(len(files))
        return read(files)

    monkeypatch.setattr(fingerprint, "_hash", noted)
    return times


def picture(level):
    return data_of(pa.array([level] * 48, pa.uint8()).to_numpy().reshape(4, 4, 3))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for level in range(3):
        (folder / f"{level}.png").write_bytes(picture(level))
    return folder


def load(path, **settings):
    return load_training_set(Verification(training_set=str(path), **settings), 4, 4)


def test_what_was_submitted_is_not_read_again_to_be_indexed(folder, hashed):
    submitted = fingerprint_training_set(folder)
    assert load(folder, fingerprint=submitted).ids.to_pylist() == ["0.png", "1.png", "2.png"]
    assert fingerprint_training_set(folder) == submitted
    assert hashed == [3]


def test_a_file_that_was_changed_just_now_is_read_again(folder, hashed, monkeypatch):
    monkeypatch.setattr(fingerprint, "SETTLED_SECONDS", 3600.0)
    assert fingerprint_training_set(folder) == fingerprint_training_set(folder)
    assert hashed == [3, 3]


def rewrite(folder):
    """Another picture of the same size, at the same time."""
    about = (folder / "1.png").stat()
    (folder / "1.png").write_bytes(picture(2).ljust(about.st_size, b"\0")[: about.st_size])
    os.utime(folder / "1.png", ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        rewrite,
        lambda folder: (folder / "3.png").write_bytes(picture(3)),
        lambda folder: (folder / "2.png").unlink(),
        lambda folder: (folder / "2.png").rename(folder / "3.png"),
        lambda folder: (folder / "1.png").replace(folder / "2.png"),
    ],
    ids=["rewritten", "one more", "one less", "renamed", "replaced"],
)
def test_another_set_is_never_indexed(folder, change, cache):
    submitted = fingerprint_training_set(folder)
    change(folder)
    with pytest.raises(TrainingSetError, match="is not the one that was submitted"):
        load(folder, fingerprint=submitted)
    assert not list(cache.rglob("*.npy"))


def test_a_set_that_changes_while_it_is_indexed_is_refused(folder, cache, monkeypatch):
    def changing(*wanted):
        yield from read_pictures(*wanted)
        (folder / "1.png").write_bytes(picture(9))

    monkeypatch.setattr(index, "read_pictures", changing)
    with pytest.raises(TrainingSetError, match="it changed while it was read"):
        load(folder, fingerprint=fingerprint_training_set(folder))
    assert not list(cache.rglob("*.npy"))


@settings(max_examples=20)
@given(st.binary(max_size=80))
def test_a_cache_that_holds_something_else_is_not_believed(tmp_path_factory, data):
    path = write_parquet(tmp_path_factory.getbasetemp() / "t.parquet", [picture(1)])
    submitted = fingerprint_training_set(path)
    [kept] = fingerprint.cache_folder().rglob("fingerprints/*")
    kept.write_bytes(data)
    assert fingerprint_training_set(path) == submitted
    kept.unlink()


def test_a_cache_that_cannot_be_written_hinders_nothing(folder, cache):
    cache.rmdir()
    cache.write_text("a file where the folder should be")
    assert fingerprint_training_set(folder) == fingerprint_training_set(folder)


@pytest.mark.parametrize("shape", ["strings", "structs"])
def test_pictures_that_a_file_names_are_part_of_it(folder, tmp_path, shape):
    names = ["0.png", "gone.png"]
    images = names if shape == "strings" else [{"bytes": None, "path": name} for name in names]
    pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet")
    column = PictureColumn(folder=str(folder))
    seen = [fingerprint_training_set(tmp_path / "t.parquet", column)]
    (folder / "0.png").write_bytes(picture(8))
    seen.append(fingerprint_training_set(tmp_path / "t.parquet", column))
    (folder / "gone.png").write_bytes(picture(9))
    seen.append(fingerprint_training_set(tmp_path / "t.parquet", column))
    (folder / "1.png").write_bytes(picture(7))
    assert len(set(seen)) == 3
    assert fingerprint_training_set(tmp_path / "t.parquet", column) == seen[-1]


def test_what_holds_its_pictures_is_named_by_its_bytes_whatever_else_it_says(tmp_path):
    images = [{"bytes": picture(1), "path": "0.png"}]
    path = write_parquet(tmp_path / "t.parquet", images)
    before = fingerprint_training_set(path)
    (tmp_path / "0.png").write_bytes(picture(2))
    assert fingerprint_training_set(path) == before


def test_rows_may_hold_a_picture_name_one_or_lack_one(tmp_path, folder):
    held, named = {"bytes": picture(1), "path": "a.png"}, {"bytes": None, "path": "set/0.png"}
    path = write_parquet(tmp_path / "t.parquet", [held, held, None, None], rows=2)
    assert [name for name, _ in look_into(path).all_files()] == ["."]
    write_parquet(path, [held, None, named, held], rows=2)
    assert [name for name, _ in look_into(path).all_files()] == [".", "t.parquet#2 0.png"]
    before = fingerprint_training_set(path)
    (folder / "0.png").write_bytes(picture(9))
    assert fingerprint_training_set(path) != before
