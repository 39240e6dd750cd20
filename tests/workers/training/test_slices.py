import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from seedsweep.storage.errors import TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.training import slices
from seedsweep.workers.training.pictures import read_pictures
from seedsweep.workers.training.slices import (
    UNREADABLE,
    count_pictures,
    cut_training_set,
    look_into,
    read_captions,
    read_slice,
)
from tests.support.pictures import data_of, write_parquet, write_tar


def plain(level):
    return data_of(np.full((4, 4, 3), level, np.uint8))


def names_in(part):
    return [name for name, _ in read_slice(part)]


@pytest.fixture
def small_slices(monkeypatch):
    monkeypatch.setattr(slices, "SLICE_PICTURES", 3)


@pytest.fixture
def mixed(tmp_path, small_slices):
    """A folder with all that a training set may be made of, and other things."""
    write_parquet(tmp_path / "a" / "0.parquet", [plain(i) for i in range(7)], rows=2)
    write_parquet(tmp_path / "a" / "1.parquet", [plain(7)])
    pq.write_table(
        pq.read_table(tmp_path / "a/1.parquet").rename_columns(["x"]), tmp_path / "m.parquet"
    )
    write_tar(
        tmp_path / "b.tar",
        [("k/8.jpg", plain(8)), ("k/8.txt", b" eight\n"), ("9.webp", plain(9)), ("9.json", b"{}")],
    )
    for level in range(10, 15):
        (tmp_path / f"p{level}.png").write_bytes(plain(level))
    (tmp_path / "p11.txt").write_text("eleven\n")
    return tmp_path


def test_every_picture_of_a_folder_is_in_one_slice_in_the_order_of_the_files(mixed):
    slices = cut_training_set(mixed)
    found = [(name, read()) for part in slices for name, read in read_slice(part)]
    assert [name for name, _ in found] == [
        *(f"a/0.parquet#{row}" for row in range(7)),
        "a/1.parquet#0",
        "b.tar#k/8.jpg",
        "b.tar#9.webp",
        *(f"p{level}.png" for level in range(10, 15)),
    ]
    assert [data for _, data in found] == [plain(level) for level in range(15)]
    assert [part.count for part in slices] == [4, 3, 1, None, 3, 2]
    assert count_pictures(slices) == 15


def test_the_index_of_the_whole_set_reads_the_same(mixed):
    read = list(read_pictures(Verification(training_set=str(mixed)), 4, 4))
    assert [int(pixels[0, 0, 0]) for _, pixels, _ in read] == list(range(15))


def test_a_tar_is_a_training_set_by_itself(tmp_path):
    tar = write_tar(tmp_path / "b.tar", [("8.jpg", plain(8)), ("8.txt", b"eight")])
    [part] = cut_training_set(tar)
    assert names_in(part) == ["b.tar#8.jpg"]
    assert read_captions(part, ["b.tar#8.jpg"]) == {"b.tar#8.jpg": "eight"}


def test_captions_are_found_where_there_are_some(mixed, tmp_path):
    captioned = write_parquet(
        tmp_path / "c" / "c.parquet", [plain(1)] * 3, rows=1, caption=["x", None, "z"]
    )
    found = {}
    for part in [*cut_training_set(mixed), *cut_training_set(captioned)]:
        found |= read_captions(part, names_in(part))
    assert found.pop("c/c.parquet#0") == "x"
    assert found == {
        "b.tar#k/8.jpg": "eight",
        "p11.png": "eleven",
        "c/c.parquet#2": "z",
        "c.parquet#0": "x",
        "c.parquet#2": "z",
    }


def test_a_tar_that_breaks_off_gives_what_comes_before(tmp_path):
    tar = write_tar(tmp_path / "b.tar", [(f"{i}.png", plain(i)) for i in range(3)])
    tar.write_bytes(tar.read_bytes()[: 512 * 3 + 5])
    read = read_slice(cut_training_set(tar)[0])
    assert next(read)[0] == "b.tar#0.png"
    with pytest.raises(UNREADABLE):
        [load() for _, load in read]


def test_a_tar_that_was_cut_between_two_pictures_is_noticed(tmp_path):
    tar = write_tar(tmp_path / "b.tar", [(f"{i}.png", plain(i)) for i in range(3)])
    tar.write_bytes(tar.read_bytes()[: 512 * 4])
    with pytest.raises(EOFError, match="end mark"):
        [load() for _, load in read_slice(cut_training_set(tar)[0])]


def test_a_parquet_file_of_a_folder_that_cannot_be_opened_is_a_slice_that_cannot_be_read(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "b.png").write_bytes(plain(1))
    broken, fine = cut_training_set(tmp_path)
    assert (broken.count, fine.count) == (None, 1)
    with pytest.raises(UNREADABLE):
        names_in(broken)


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(TrainingSetError, match="no picture"):
        cut_training_set(tmp_path)


def test_a_file_whose_name_is_not_text_is_refused_by_that_name(tmp_path):
    """Results name pictures by their files, and are text."""
    (tmp_path / "café.png").write_bytes(b"")
    assert len(look_into(tmp_path).files) == 1
    os.close(os.open(os.fsencode(tmp_path) + b"/caf\xe9.png", os.O_CREAT))
    with pytest.raises(TrainingSetError, match=r"caf\\xe9.png' is not UTF-8; rename it"):
        look_into(tmp_path)
