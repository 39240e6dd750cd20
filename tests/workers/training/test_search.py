"""The search of a training set that is never held: what it finds, and what it says of the rest."""

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.storage.settings.analysis import PartRule, Verification
from seedsweep.workers.analysis import matching
from seedsweep.workers.analysis.cuts import centres
from seedsweep.workers.analysis.frames import frames_of
from seedsweep.workers.analysis.matching import is_extracted, nearest_training
from seedsweep.workers.analysis.near_copies import Reference
from seedsweep.workers.analysis.nearest import describe_training
from seedsweep.workers.analysis.part_matching import MaskedPicture, PartReference
from seedsweep.workers.training import (
    copy_counts,
    distinct_neighbours,
    set_passes,
    slice_search,
    slices,
)
from seedsweep.workers.training import search as searching
from seedsweep.workers.training.picture_set import open_set
from seedsweep.workers.training.pictures import (
    EXAMPLES,
    Reading,
    first_reason,
    read_pictures,
    readable_pictures,
)
from seedsweep.workers.training.search import TrainingSearch
from seedsweep.workers.training.slice_queries import Query
from seedsweep.workers.training.slice_search import search_slice
from tests.support.pictures import data_of, drawings, write_parquet, write_tar
from tests.support.searchers import Here
from tests.support.templates import noise, template

few = settings(max_examples=25, derandomize=True, deadline=None)
SIDE = 5


def pictures(count, seed, levels=3):
    """So few levels and pixels make many equal distances, and equal pictures."""
    made = np.random.default_rng(seed).integers(0, levels, (count, 1, 1, 3))
    return np.broadcast_to((made * 20).astype(np.uint8), (count, SIDE, SIDE, 3)).copy()


def write_set(folder, made, kinds, rows):
    """Spread the pictures over files of these kinds, by name in the order of the kinds."""
    for number, part in enumerate(np.array_split(made, len(kinds))):
        files = [data_of(picture) for picture in part]
        if kinds[number] == "parquet" and files:
            write_parquet(folder / f"{number}.parquet", files, rows)
        elif kinds[number] == "tar":
            named = [(f"{i:03}.png", data) for i, data in enumerate(files)]
            write_tar(folder / f"{number}.tar", named)
        else:
            for i, data in enumerate(files):
                (folder / f"{number}-{i:03}.png").write_bytes(data)


def search(folder, queries, counted=True, **changes):
    wanted, done = Verification(training_set=str(folder), **changes), []
    through = TrainingSearch(Here(), open_set(folder), wanted, 1, lambda *n: done.append(n))
    found = through.match(queries, len(queries), counted=counted)
    assert done[-1][0] == done[-1][1]
    return found


def judged_in_a_campaign(folder, queries, **changes):
    """The matches as a campaign's analysis finds them, with the pictures in memory."""
    wanted = Verification(training_set=str(folder), **changes)
    named = list(read_pictures(wanted, SIDE, SIDE))
    held = describe_training(np.stack([pixels for _, pixels, _ in named]))
    matches = [nearest_training(query, held, 1, wanted) for query in queries]
    return [(named[match.index][0], match) for match in matches]


def scores(match):
    return (
        match.l2,
        match.tiled_l2,
        match.adaptive,
        match.adaptive_training,
        match.adaptive_generation,
        match.agreement,
        match.flip,
    )


def slow_copies(picture, made, flip=False):
    rule = Verification(training_set="").near_copies
    reference = Reference(frames_of(picture[None])[0], rule, flip)
    return int(reference.copies(centres(frames_of(made))).sum())


@settings(few, max_examples=8)
@given(
    st.integers(1, 40),
    st.lists(st.sampled_from(["parquet", "tar", "folder"]), min_size=1, max_size=4),
    st.integers(1, 9),
    st.sampled_from([1, 3, 50]),
    st.sampled_from(["training", "generation"]),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_it_finds_what_a_campaign_finds_that_holds_all_pixels(
    count, kinds, rows, neighbours, whose, flip, seed
):
    made, queries = pictures(count, seed), pictures(4, seed + 1, levels=4)
    made[::5, :, 0] = 200  # so that mirror images are others
    asked = {"neighbours": neighbours, "neighbours_of": whose, "flip": flip}
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_PICTURES", 4)
        patch.setattr(slice_search, "_BLOCK_PICTURES", 3)
        folder = Path(name)
        write_set(folder, made, kinds, rows)
        found = search(folder, queries, **asked)
        expected = judged_in_a_campaign(folder, queries, **asked)
    assert found.coverage.read == count
    for place, (name, match) in enumerate(expected):
        fetched = found.fetched[place]
        assert fetched.name == name
        assert scores(found.matches[place]) == scores(match)
        assert found.copies[fetched.position] == slow_copies(fetched.pixels, made, flip)


@settings(few, max_examples=4)
@given(
    st.integers(1, 30),
    st.integers(1, 7),
    st.integers(1, 6),
    st.sampled_from([1, 3]),
    st.sampled_from(["training", "generation"]),
    st.integers(0, 10_000),
)
def test_however_many_are_held_at_once_it_is_found_what_comparing_all_pixels_gives(
    count, at_once, held, neighbours, whose, seed
):
    made, queries = pictures(count, seed), pictures(7, seed + 1, levels=4)
    queries[0] = made[0]
    asked = {"neighbours": neighbours, "neighbours_of": whose}
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_PICTURES", 6)
        patch.setattr(set_passes, "_QUERY_BYTES", at_once * made[0].size)
        patch.setattr(set_passes, "_COUNTED", 1)
        patch.setattr(searching, "FEW", at_once)
        patch.setattr(searching, "SPARE", 1)
        patch.setattr(searching, "SPARE_OF_MANY", 1)
        patch.setattr(searching, "_MATCHED_BYTES", at_once * made[0].size)
        patch.setattr(distinct_neighbours, "HELD", held)
        patch.setattr(distinct_neighbours, "FIRSTS", 2)
        patch.setattr(copy_counts, "HELD", held)
        patch.setattr(copy_counts, "FIRSTS", 2)
        patch.setattr(copy_counts, "_POSSIBLE", held)
        folder = Path(name)
        write_set(folder, made, ["folder", "parquet"], 4)
        found = search(folder, queries, counted=False, **asked)
        whole = search(folder, queries, **asked)
        expected = judged_in_a_campaign(folder, queries, **asked)
    assert [fetched.name for fetched in found.fetched] == [name for name, _ in expected]
    assert [scores(match) for match in whole.matches] == [scores(match) for _, match in expected]
    for match, (_, campaigns) in zip(found.matches, expected, strict=True):
        assert (match.l2, match.adaptive) == (campaigns.l2, campaigns.adaptive)
    extracted = {match.index for match in found.matches if is_extracted(match, 0.15, SIDE)}
    assert found.copies == {index: whole.copies[index] for index in extracted}


@pytest.mark.parametrize("spare", [1, 50])
def test_pictures_beyond_many_copies_are_reached(tmp_path, monkeypatch, spare):
    monkeypatch.setattr(matching, "SPARE", spare)
    monkeypatch.setattr(searching, "SPARE", spare)
    made = drawings(8, 0, SIDE)
    edited = [picture ^ (1 + n % 3) for picture in made[:4] for n in range(12)]
    write_set(tmp_path, np.concatenate([made, edited]), ["tar", "parquet"], 8)
    query = np.rint(made[0] * 0.9).astype(np.uint8)
    found = search(tmp_path, query[None], neighbours=5)
    [(name, match)] = judged_in_a_campaign(tmp_path, query[None], neighbours=5)
    assert found.fetched[0].name == name
    assert scores(found.matches[0]) == scores(match)
    assert match.adaptive is not None
    assert min(found.copies.values()) >= 13


@pytest.mark.parametrize("counted", [True, False])
def test_a_search_for_nothing_says_what_could_be_read(tmp_path, counted):
    write_set(tmp_path, pictures(3, 0), ["parquet"], 2)
    wanted = Verification(training_set=str(tmp_path))
    through = TrainingSearch(Here(), open_set(tmp_path), wanted, 1, lambda *n: None)
    found = through.match(pictures(0, 0), 0, counted=counted)
    assert (found.matches, found.copies, found.coverage.read) == ([], {}, 3)


def test_near_copies_of_many_are_counted_among_what_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(set_passes, "_COUNTED", 1)
    monkeypatch.setattr(copy_counts, "HELD", 4)
    made = drawings(3, 0, 32)
    stored = [data_of(picture) for picture in (*made, made[0] ^ 1, made[0] ^ 2, made[1] ^ 1)]
    write_parquet(tmp_path / "a.parquet", [b"no", *stored, b"no"], 3)
    write_tar(tmp_path / "b.tar", [("0.png", stored[2]), ("1.png", b"no")])
    found = search(tmp_path, made, neighbours=1)
    assert [found.copies[one.position] for one in found.fetched] == [3, 2, 2]


class TestCoverage:
    @pytest.fixture
    def damaged(self, tmp_path):
        """Eight pictures, of which five can be read, and two files that break off."""
        made = pictures(8, 0, levels=12)
        images = [data_of(picture) for picture in made[:4]]
        images[1] = b"no picture"
        write_parquet(tmp_path / "a.parquet", images)
        tar = [(f"{i}.png", data_of(picture)) for i, picture in enumerate(made[4:6])]
        path = write_tar(tmp_path / "b.tar", tar)
        path.write_bytes(path.read_bytes()[: 512 * 3 + 9])
        (tmp_path / "c.png").write_bytes(data_of(made[6]))
        (tmp_path / "d.png").write_bytes(b"")
        (tmp_path / "e.parquet").write_bytes(b"PAR1 no")
        return tmp_path

    def test_it_says_how_many_could_be_read_and_which_first_could_not(self, damaged):
        coverage = search(damaged, pictures(1, 1)).coverage
        assert (coverage.pictures, coverage.unreadable, coverage.read) == (8, 3, 5)
        assert [one.name for one in coverage.examples] == ["a.parquet#1", "b.tar#1.png", "d.png"]
        assert [one.name for one in coverage.broken] == ["b.tar", "e.parquet"]
        assert "cannot identify image" in coverage.examples[0].reason
        assert first_reason(coverage).startswith("The first: a.parquet#1 (")

    def test_few_are_named_however_many_there_are(self, tmp_path):
        write_parquet(tmp_path / "a.parquet", [b"no"] * 20 + [data_of(pictures(1, 0)[0])])
        coverage = search(tmp_path / "a.parquet", pictures(1, 1)).coverage
        assert (coverage.pictures, coverage.unreadable) == (21, 20)
        assert len(coverage.examples) == EXAMPLES

    def test_the_rest_of_a_parquet_file_that_breaks_off_counts_as_not_read(self, tmp_path):
        made = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
        path = write_parquet(tmp_path / "a.parquet", [data_of(picture) for picture in made])
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[4:middle] = bytes(middle - 4)
        path.write_bytes(data)
        reading = Reading()
        [part] = open_set(path).slices
        wanted = Verification(training_set=str(path))
        assert list(readable_pictures(part, wanted, (4, 4), reading)) == []
        assert (reading.pictures, reading.unreadable) == (64, 64)
        assert [one.name for one in reading.broken] == ["a.parquet"]

    def test_a_set_of_which_nothing_can_be_read_is_refused(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"no picture")
        with pytest.raises(TrainingSetError, match=r"None of 1 pictures .* a\.png"):
            search(tmp_path, pictures(1, 1))

    def test_a_set_that_changes_meanwhile_is_refused(self, tmp_path):
        write_set(tmp_path, pictures(6, 0), ["folder"], 1)
        crew, once = Here(), []

        class Changing(Here):
            def search(self, slices, query, reach):
                if once:
                    (tmp_path / "0-001.png").write_bytes(b"gone")
                once.append(1)
                return crew.search(slices, query, reach)

        wanted = Verification(training_set=str(tmp_path))
        search = TrainingSearch(Changing(), open_set(tmp_path), wanted, 1, lambda *n: None)
        with pytest.raises(TrainingSetError, match="changed while it was read"):
            search.match(pictures(1, 5), 1)


def test_the_column_that_is_set_is_searched(tmp_path):
    made = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    photos = [*map(data_of, made), None]
    write_parquet(tmp_path / "t.parquet", [b"no"] * 4, photo=photos)
    (tmp_path / "notes.json").write_text("{}")
    found = search(tmp_path, made, column="photo")
    assert [item.name for item in found.fetched] == [f"t.parquet#{row}" for row in range(3)]
    left_out = {each.kind: each.count for each in found.coverage.left_out}
    assert left_out == {".json": 1, "row without a picture": 1}
    with pytest.raises(ConfigError, match="no column `foto`"):
        search(tmp_path / "t.parquet", pictures(1, 0), column="foto")


def test_a_listing_names_files_by_name_and_size_and_not_by_place(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        write_set(tmp_path / name, pictures(3, 0), ["folder"], 1)
    assert open_set(tmp_path / "x").listing == open_set(tmp_path / "y").listing
    (tmp_path / "y" / "0-000.png").write_bytes(b"other")
    assert open_set(tmp_path / "x").listing != open_set(tmp_path / "y").listing


def test_what_a_search_holds_does_not_grow_with_the_slice(tmp_path):
    def peak(count):
        made = np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
        path = tmp_path / f"{count}.parquet"
        write_parquet(path, [data_of(picture) for picture in made])
        [part] = open_set(path).slices
        query = Query(made[:4], Verification(training_set=str(path)), 50)
        del made
        tracemalloc.start()
        found = search_slice(0, part, query)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.reading.pictures == count
        return held

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slice_search, "_BLOCK_PICTURES", 16)
        assert peak(256) < 1.5 * peak(64)


@few
@given(
    seed=st.integers(0, 10_000),
    kinds=st.lists(st.sampled_from(["parquet", "tar", "png"]), min_size=1, max_size=3),
    flip=st.booleans(),
)
def test_parts_are_found_as_by_comparing_all_pictures(seed, kinds, flip):
    rng = np.random.default_rng(seed)
    rows, columns = slice(8, 24), slice(4, 20)
    made = [*template(rng, 3, rows, columns), *noise(rng, 9)]
    made = np.stack(made)[rng.permutation(12)]
    made[rng.integers(12)] = made[rng.integers(12), :, ::-1]
    mask = np.zeros((32, 32), bool)
    mask[rows, columns] = True
    parts = [MaskedPicture(picture, mask) for picture in (made[0], noise(rng)[0])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder, made, kinds, 3)
        wanted = Verification(training_set=str(folder), flip=flip)
        through = TrainingSearch(Here(), open_set(folder), wanted, 1, lambda *n: None)
        before = through.match(made[:1], 1).coverage
        found = through.match_parts(parts, PartRule(), before)
        read = [(name, pixels) for name, pixels, _ in read_pictures(wanted, 32, 32)]
    for part, matched_parts in zip(parts, found, strict=True):
        reference = PartReference(part, PartRule())
        seen = [picture for _, picture in read]
        ways = [seen, [picture[:, ::-1] for picture in seen]][: 1 + flip]
        shown = [reference.shown_by(np.stack(way)) for way in ways]
        squared = np.min([each.squared for each in shown], axis=0)
        assert matched_parts.copies == np.any([each.same for each in shown], axis=0).sum()
        assert matched_parts.l2 == reference.l2_of(squared.min())
        nearest = {name for (name, _), s in zip(read, squared, strict=True) if s == squared.min()}
        assert matched_parts.nearest.name in nearest
        assert len(matched_parts.showing) == matched_parts.copies


def test_parts_are_not_looked_for_in_another_set_than_before(tmp_path):
    made = drawings(3, 0, 16)
    write_set(tmp_path, made, ["png"], 1)
    wanted = Verification(training_set=str(tmp_path))
    through = TrainingSearch(Here(), open_set(tmp_path), wanted, 1, lambda *n: None)
    before = through.match(made[:1], 1).coverage
    (tmp_path / "0-000.png").write_bytes(b"no picture")
    part = MaskedPicture(made[0], np.ones((16, 16), bool))
    with pytest.raises(TrainingSetError, match="changed while it was read"):
        through.match_parts([part], PartRule(), before)
    assert through.match_parts([], PartRule(), before) == []
