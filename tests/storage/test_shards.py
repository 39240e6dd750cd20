import contextlib
import dataclasses
import io

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seedsweep.storage.errors import ShardCorruptError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.image_rows import Described
from seedsweep.storage.keys import unit_shard
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Flaw, Provenance, WorkUnit
from seedsweep.storage.settings.sampling import Blocks
from seedsweep.storage.shards import StoredImage, decode_shard, encode_shard, read_described

modest = settings(max_examples=40, derandomize=True, deadline=None)
RECIPE = "0123456789abcdef"


def unit_of(first, count, prompt="a red square", generation_id=RECIPE):
    return WorkUnit(
        campaign_id="c",
        generation_id=generation_id,
        index=0,
        prompt=prompt,
        seeds=SeedRange(first=first, last=first + count - 1),
    )


KEY = unit_shard(unit_of(7, 3))


def provenance(**changes):
    usual = {
        "batch_size": 4,
        "threads": 1,
        "device": "cpu",
        "dtype": "float32",
        "versions": "v",
        "recipe": "{}",
    }
    return Provenance(**usual | changes)


def image(seed, png=b"png", **changes):
    usual = {
        "descriptor": b"desc",
        "blocks": Blocks(),
        "sha256": "ab" * 32,
        "flaw": None,
        "provenance": provenance(),
    }
    return StoredImage(seed=seed, png=png, **usual | changes)


class Held:
    """A store of one object that notes which ranges of it are read."""

    def __init__(self, data):
        self._data, self.ranges = data, []

    def read_range(self, key, start, length):
        part = self._data[start:][:length]
        at = max(0, len(self._data) + start) if start < 0 else start
        self.ranges.append((at, len(part)))
        return part


def decode_described(data, key):
    return read_described(Held(data), key)


READERS = pytest.mark.parametrize("decode", [decode_shard, decode_described])


def pixels_of(seed):
    return np.random.default_rng(seed).integers(0, 256, (8, 6, 3), dtype=np.uint8)


def png_of(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def shard():
    """A shard of the seeds 7, 8 and 9 with real pictures."""
    images = [image(seed, png_of(pixels_of(seed))) for seed in (7, 8, 9)]
    return encode_shard(unit_of(7, 3), images)


@pytest.fixture
def shard_file(shard, tmp_path):
    path = tmp_path / "7-9.parquet"
    path.write_bytes(shard)
    return path


def texts():
    return st.text(st.characters(codec="utf-8"), max_size=20)


@st.composite
def units(draw):
    count = draw(st.integers(1, 5))
    first = draw(st.integers(0, 2**63 - 1 - count))
    provenances = st.builds(
        Provenance,
        batch_size=st.integers(1, 2**31 - 1),
        threads=st.integers(1, 64),
        device=texts(),
        dtype=texts(),
        versions=texts(),
        recipe=texts(),
    )
    images = [
        StoredImage(
            seed=first + i,
            png=draw(st.binary(max_size=50)),
            descriptor=draw(st.binary(max_size=50)),
            blocks=Blocks(fine=draw(st.sampled_from([2, 4, 8])), coarse=8),
            sha256=draw(texts()),
            flaw=draw(st.none() | st.sampled_from(Flaw)),
            provenance=draw(provenances),
            same_as=draw(st.sampled_from(["", "0123456789abcdef", "0" * 16])),
        )
        for i in range(count)
    ]
    return unit_of(first, count, draw(texts())), images


@modest
@given(units())
def test_a_shard_gives_back_exactly_what_went_in(made):
    unit, images = made
    assert decode_shard(encode_shard(unit, images), unit_shard(unit)) == images


@modest
@given(units(), st.data())
def test_only_the_images_of_the_seeds_that_are_asked_for_are_decoded(made, data):
    unit, images = made
    seeds = data.draw(st.sets(st.sampled_from([image.seed for image in images])))
    wanted = [image for image in images if image.seed in seeds]
    assert decode_shard(encode_shard(unit, images), unit_shard(unit), seeds) == wanted


def described_of(images):
    fields = [field.name for field in dataclasses.fields(Described)]
    return [Described(**{name: getattr(image, name) for name in fields}) for image in images]


@modest
@given(units())
def test_descriptors_are_read_as_they_went_in(made):
    unit, images = made
    assert decode_described(encode_shard(unit, images), unit_shard(unit)) == described_of(images)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_descriptors_are_read_without_the_pictures_of_a_large_shard(count):
    rng = np.random.default_rng(0)
    images = [
        image(seed, png=rng.bytes(300_000), descriptor=rng.bytes(40_960)) for seed in range(count)
    ]
    unit = unit_of(0, count)
    shard = encode_shard(unit, images)
    held = Held(shard)
    assert read_described(held, unit_shard(unit)) == described_of(images)
    assert len(held.ranges) == 2
    assert sum(length for _, length in held.ranges) < count * 41_200 + 75_000
    first_picture = shard.index(images[0].png)
    assert not any(start < first_picture + 1000 < start + size for start, size in held.ranges)


def test_a_small_shard_is_one_range(shard):
    held = Held(shard)
    assert len(read_described(held, KEY)) == 3
    assert held.ranges == [(0, len(shard))]


def test_where_there_is_no_shard_nothing_is_described(tmp_path):
    assert read_described(FolderStore(tmp_path), KEY) is None


@modest
@given(units())
def test_equal_images_make_equal_bytes(made):
    assert encode_shard(*made) == encode_shard(*made)


@pytest.mark.parametrize(
    "seeds", [[], [7, 8], [7, 8, 9, 10], [7, 8, 8], [9, 8, 7], [7, 9, 8], [6, 7, 8]]
)
def test_a_shard_needs_each_of_the_units_seeds_once_and_in_order(seeds):
    with pytest.raises(ValueError, match="each of them once, in order"):
        encode_shard(unit_of(7, 3), [image(seed) for seed in seeds])


def test_each_row_says_what_it_is_a_picture_of(shard):
    rows = pq.read_table(io.BytesIO(shard)).to_pylist()
    assert [row["seed"] for row in rows] == [7, 8, 9]
    for row in rows:
        assert row["prompt"] == "a red square"
        assert row["prompt_id"] == unit_of(7, 3).prompt_id
        assert row["generation_id"] == RECIPE
        assert (row["batch_size"], row["threads"], row["dtype"]) == (4, 1, "float32")


def test_pictures_and_descriptors_lie_uncompressed_in_one_row_group():
    images = [image(seed, png_of(pixels_of(seed))) for seed in range(300)]
    metadata = pq.ParquetFile(io.BytesIO(encode_shard(unit_of(0, 300), images))).metadata
    assert metadata.num_row_groups == 1
    group = metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    for name in ("image.bytes", "image.path", "descriptor"):
        assert columns[name].compression == "UNCOMPRESSED"
        assert not columns[name].has_dictionary_page
        assert not {"RLE_DICTIONARY", "PLAIN_DICTIONARY"} & set(columns[name].encodings)
    assert {column.compression for column in columns.values()} == {"UNCOMPRESSED"}
    assert columns["prompt"].has_dictionary_page


def test_pandas_opens_a_shard_unchanged(shard_file):
    frame = pd.read_parquet(shard_file)
    assert list(frame["seed"]) == [7, 8, 9]
    assert frame["image"][1]["bytes"] == png_of(pixels_of(8))


def test_duckdb_opens_a_shard_unchanged(shard_file):
    rows = duckdb.sql(
        f"SELECT seed, image.bytes FROM '{shard_file}' WHERE seed > 7 ORDER BY seed"  # noqa: S608
    ).fetchall()
    assert rows == [(8, png_of(pixels_of(8))), (9, png_of(pixels_of(9)))]


def test_hugging_face_datasets_opens_a_shard_and_decodes_its_pictures(
    shard_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    opened = datasets.load_dataset(
        "parquet", data_files=str(shard_file), cache_dir=str(tmp_path / "cache"), split="train"
    )
    assert opened.features["image"] == datasets.Image()
    assert opened["seed"] == [7, 8, 9]
    for seed, picture in zip(opened["seed"], opened["image"], strict=True):
        assert isinstance(picture, Image.Image)
        assert np.array_equal(np.asarray(picture), pixels_of(seed))


def parquet(**columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@READERS
@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"PAR1",
        b"PAR1" + bytes(100) + b"PAR1",
        b"<html>404</html>",
        parquet(seed=[7, 8, 9]),
        parquet(x=["a"]),
    ],
)
def test_bytes_that_are_no_shard_are_reported_with_their_key(decode, other):
    with pytest.raises(ShardCorruptError, match=KEY):
        decode(other, KEY)


@READERS
def test_a_shard_without_rows_is_corrupt(decode, shard):
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(shard)).slice(0, 0), buffer)
    with pytest.raises(ShardCorruptError, match=KEY):
        decode(buffer.getvalue(), KEY)


@READERS
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(unit_of(7, 3, prompt="a blue square"), id="prompt"),
        pytest.param(unit_of(7, 3, generation_id="f" * 16), id="recipe"),
        pytest.param(unit_of(7, 2), id="fewer seeds"),
        pytest.param(unit_of(7, 4), id="more seeds"),
        pytest.param(unit_of(6, 3), id="earlier seeds"),
        pytest.param(unit_of(0, 3), id="none of the seeds"),
    ],
)
def test_another_units_shard_is_corrupt_under_this_key(decode, other):
    first = other.seeds.first
    images = [image(seed) for seed in range(first, first + len(other.seeds))]
    assert decode_shard(encode_shard(other, images), unit_shard(other)) == images
    with pytest.raises(ShardCorruptError, match=KEY):
        decode(encode_shard(other, images), KEY)


@READERS
@pytest.mark.parametrize(
    "kept", [[0, 2], [1, 2], [0, 1], [0, 2, 1], [0, 1, 1, 2], [0, 1, 2, 2], [2, 1, 0]]
)
def test_rows_that_are_not_each_seed_once_and_in_order_are_corrupt(decode, shard, kept):
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(shard)).take(kept), buffer)
    with pytest.raises(ShardCorruptError, match=KEY):
        decode(buffer.getvalue(), KEY)


@READERS
@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ("prompt", "another text"),
        ("prompt", None),
        ("prompt_id", unit_of(7, 3, "b").prompt_id),
        ("prompt_id", None),
        ("generation_id", "f" * 16),
        ("seed", 2**62),
        ("seed", -1),
        ("seed", None),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_row_of_another_unit_makes_a_shard_corrupt(decode, shard, column, wrong, place):
    table = pq.read_table(io.BytesIO(shard))
    values = table.column(column).to_pylist()
    values[place] = wrong
    position = table.schema.get_field_index(column)
    field = table.schema.field(column)
    buffer = io.BytesIO()
    pq.write_table(table.set_column(position, field, pa.array(values, field.type)), buffer)
    with pytest.raises(ShardCorruptError, match=KEY):
        decode(buffer.getvalue(), KEY)


@settings(modest, max_examples=60)
@given(st.data())
def test_a_shard_cut_short_anywhere_is_corrupt(shard, data):
    end = data.draw(st.integers(0, len(shard) - 1))
    for decode in (decode_shard, decode_described):
        with pytest.raises(ShardCorruptError, match=KEY):
            decode(shard[:end], KEY)


@pytest.fixture(scope="module")
def large_shard():
    """A shard of the seeds 7, 8 and 9 of which the pictures are not read with the descriptors."""
    return encode_shard(unit_of(7, 3), [image(seed, b"x" * 50_000) for seed in (7, 8, 9)])


@settings(modest, max_examples=200)
@given(st.data())
def test_one_wrong_byte_never_yields_other_images(shard, large_shard, data):
    for whole in (shard, large_shard):
        wrong = bytearray(whole)
        wrong[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        for decode in (decode_shard, decode_described):
            with contextlib.suppress(ShardCorruptError):
                assert decode(bytes(wrong), KEY) == decode(whole, KEY)
