"""The search of a training set that is never held: what it finds, and what it says of the rest."""

import itertools
import math
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.storage.records import Verification
from seedsweep.workers.analysis.matching import (
    TrainingMatch,
    adaptive_score,
    is_extracted,
    match_limit,
    near_groups,
    nearest_training,
)
from seedsweep.workers.analysis.nearest import describe_training
from seedsweep.workers.training import slice_search, slices
from seedsweep.workers.training.pictures import (
    EXAMPLES,
    Reading,
    first_reason,
    read_pictures,
    readable_pictures,
)
from seedsweep.workers.training.search import TrainingSearch, open_set
from seedsweep.workers.training.slice_search import Query, Searcher, search_slice
from tests.support.pictures import data_of, write_parquet, write_tar

few = settings(max_examples=25, derandomize=True, deadline=None)
SIDE = 5


class Here:
    """A crew of one searcher in this process, which ends with the last slice first."""

    def search(self, slices, query):
        for number in reversed(range(len(slices))):
            yield Searcher().search(number, slices[number], query)

    def fetch(self, slices, places, query):
        for number, some in places.items():
            yield from Searcher().fetch(number, slices[number], some, query)


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


def search(folder, queries, **changes):
    wanted, done = Verification(training_set=str(folder), **changes), []
    searching = TrainingSearch(Here(), open_set(folder), wanted, lambda *n: done.append(n))
    found = searching.match(queries, len(queries))
    assert done[-1][0] == done[-1][1]
    return found


@few
@given(
    st.integers(1, 40),
    st.lists(st.sampled_from(["parquet", "tar", "folder"]), min_size=1, max_size=4),
    st.integers(1, 9),
    st.sampled_from([1, 3, 50]),
    st.sampled_from(["training", "generation"]),
    st.integers(0, 10_000),
)
def test_it_finds_what_comparing_all_pixels_finds(count, kinds, rows, neighbours, whose, seed):
    made, queries = pictures(count, seed), pictures(4, seed + 1, levels=4)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_PICTURES", 4)
        patch.setattr(slice_search, "_BLOCK_PICTURES", 3)
        folder = Path(name)
        write_set(folder, made, kinds, rows)
        found = search(folder, queries, neighbours=neighbours, neighbours_of=whose)
        named = list(read_pictures(Verification(training_set=name), SIDE, SIDE))
    all_of_them = describe_training(np.stack([pixels for _, pixels, _ in named]))
    assert found.coverage.read == count == len(named)
    for place, query in enumerate(queries):
        expected = nearest_training(query, all_of_them, 1, 0.5, neighbours, whose)
        fetched = found.fetched[place]
        assert (fetched.name, float(found.l2[place])) == (named[expected.index][0], expected.l2)
        assert np.array_equal(fetched.pixels, named[expected.index][1])
        assert adaptive_score(expected.l2, found.means[place]) == expected.adaptive
        apart = (made.astype(float) - fetched.pixels) ** 2
        within = np.sqrt(apart.mean(axis=(1, 2, 3))) / 255 <= 0.15
        assert found.copies[fetched.position] == within.sum()


def slow_l2(a, b):
    return np.sqrt(np.mean((a / 255.0 - b / 255.0) ** 2))


@few
@given(st.integers(2, 12), st.sampled_from([1, 3]), st.integers(0, 10_000))
def test_mirrored_pictures_are_found_where_that_is_asked_for(count, neighbours, seed):
    made = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    made[-1] = made[0][:, ::-1]
    queries = np.stack([made[seed % count][:, ::-1], *pictures(1, seed)])
    with tempfile.TemporaryDirectory() as name:
        write_set(Path(name), made, ["tar", "parquet"], 2)
        found = search(Path(name), queries, flip=True, neighbours=neighbours)
        read = read_pictures(Verification(training_set=name), SIDE, SIDE)
        held = describe_training(np.stack([pixels for _, pixels, _ in read]))

    def apart(a, b):
        return min(slow_l2(a, b), slow_l2(a, b[:, ::-1]))

    for place, query in enumerate(queries):
        fetched = found.fetched[place]
        distances = [apart(query, other) for other in made]
        nearest = int(np.argmin(distances))
        assert found.l2[place] == pytest.approx(distances[nearest])
        assert slow_l2(query, fetched.pixels) == pytest.approx(distances[nearest])
        mirrored = np.array_equal(fetched.pixels, made[nearest][:, ::-1])
        assert mirrored or np.array_equal(fetched.pixels, made[nearest])
        assert fetched.transform.flip == (mirrored and not np.array_equal(query, made[nearest]))
        others = sorted(apart(made[nearest], o) for i, o in enumerate(made) if i != nearest)
        assert found.means[place] == pytest.approx(np.mean(others[:neighbours]))
        copies = 1 + sum(distance <= 0.15 for distance in others)
        assert found.copies[fetched.position] == copies
        in_a_campaign = nearest_training(query, held, 1, 0.5, neighbours, "training", flip=True)
        assert in_a_campaign.l2 == float(found.l2[place])
        assert in_a_campaign.adaptive == adaptive_score(in_a_campaign.l2, found.means[place])
        assert in_a_campaign.flip == fetched.transform.flip


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
            def search(self, slices, query):
                if once:
                    (tmp_path / "0-001.png").write_bytes(b"gone")
                once.append(1)
                return crew.search(slices, query)

        wanted = Verification(training_set=str(tmp_path))
        search = TrainingSearch(Changing(), open_set(tmp_path), wanted, lambda *n: None)
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


def test_near_pictures_are_one_group_also_by_way_of_others():
    levels = [0, 100, 20, 200, 40, 101, 60]
    made = np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels])
    assert near_groups(made, [20 / 255 + 1e-9] * 7) == [[0, 2, 4, 6], [1, 5], [3]]
    assert near_groups(made, [0.5 / 255] * 7) == [[place] for place in range(7)]


def test_two_pictures_are_near_by_the_larger_of_their_limits():
    made = np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in (0, 20, 60)])
    assert near_groups(made, [0.1, 0.0, 0.0]) == [[0, 1], [2]]
    assert near_groups(made, [0.0, 0.2, 0.0]) == [[0, 1, 2]]
    with pytest.raises(ValueError, match="3 pictures, but 1 limits"):
        near_groups(made, [0.1])


def test_the_limit_of_a_match_is_what_extracts():
    for side, spread in itertools.product((64, 256), (math.nan, 0.0, 0.1, 0.9)):
        limit = match_limit(0.15, spread, 0.5, side)
        for l2 in (limit + 1e-9, limit - 1e-9):
            match = TrainingMatch(0, l2, l2, adaptive_score(l2, spread, 0.5))
            assert is_extracted(match, 0.15, side) == (l2 < limit and l2 > 0)


def test_mirror_images_are_one_group_only_where_that_is_asked_for():
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    made = np.stack([picture, picture[:, ::-1]])
    assert near_groups(made, [0.1, 0.1]) == [[0], [1]]
    assert near_groups(made, [0.1, 0.1], flip=True) == [[0, 1]]


def test_what_a_search_holds_does_not_grow_with_the_slice(tmp_path):
    def peak(count):
        made = np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
        path = tmp_path / f"{count}.parquet"
        write_parquet(path, [data_of(picture) for picture in made])
        [part] = open_set(path).slices
        query = Query(made[:4], Verification(training_set=str(path)), 50, 0)
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
