"""Whatever bytes lie under a key of ours, reading them gives a value or one of our errors."""

import contextlib
import json
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.audit.findings.saved import (
    keep,
    load_calibrations,
    load_comparisons,
    load_duplications,
)
from seedsweep.storage import keys
from seedsweep.storage.campaigns import (
    load_campaign,
    load_control,
    load_done,
    load_parked,
    load_prompts,
    load_verifications,
    store_control,
    store_done,
    store_verification,
)
from seedsweep.storage.errors import SeedsweepError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.promotions import Promotion, Rank, load_promotion, store_promotion
from seedsweep.storage.receipts import Receipt, read_receipt, receipt_key, store_receipt
from seedsweep.storage.records import Control, Prompt
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import outcomes_by, read_results
from seedsweep.storage.scores import Scored, encode_scores, read_scores
from seedsweep.storage.shards import decode_shard, read_described
from tests.support.campaigns import (
    campaign_file,
    make_images,
    park_unit,
    small_sampling,
    submit_file,
)
from tests.support.findings import (
    make_arms,
    make_calibration,
    make_comparison,
    make_duplication,
    make_search,
)
from tests.support.results import make_flagged, make_result

PROMPTS = ["a cat", "a dog"]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the object `key` of a store."""

    key: str
    read: object


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return FolderStore(tmp_path_factory.mktemp("broken") / "store")


@pytest.fixture(scope="module")
def readers(store, tmp_path_factory):
    """Every reader, with the key of an object that it reads, all of which are stored."""
    folder = tmp_path_factory.mktemp("campaign")
    sampling = small_sampling(4, 8, images_per_unit=4)
    plan = submit_file(store, campaign_file(folder / "c.toml", PROMPTS, sampling=sampling))
    campaign, own = plan.campaign, plan.campaign.campaign_id
    make_images(store, plan)
    shard = keys.unit_shard(plan.unit(0))
    images = tuple(read_described(store, shard))
    rows = make_flagged(prompt="a cat"), make_result(prompt="a dog")
    store_receipt(store, campaign, Receipt(images, campaign.analysis_id, rows[0]))
    part = store_results(store, campaign.analysis_id, own, rows)
    store_control(store, own, Control(settings=campaign.settings))
    store_done(store, own, np.array([True, False]))
    park_unit(store, plan, 1)
    store_promotion(
        store,
        own,
        Promotion(
            stage=1,
            cohort=0,
            prompts=2,
            scored=1,
            last=Rank(score=0.5, index=1),
            near=Rank(score=0.5, index=1),
        ),
    )
    scored = plan.unit(0).model_copy(update={"kind": "screen", "kind_id": "0" * 16})
    scores = keys.unit_shard(scored)
    store.create(scores, encode_scores(scored, Scored((0.5,) * 4, "cpu", 1, "v")))
    before, after = make_arms(store)
    keep(store, make_calibration(store, before))
    keep(store, make_comparison(store, before, after))
    keep(store, make_duplication(store, before, folder))
    store_verification(store, make_search(store, before))

    def finding(kind):
        [key] = store.list(keys.findings_prefix(before, kind))
        return key

    a_cat = Prompt(text="a cat").prompt_id
    return {
        "shard": Reader(shard, lambda: decode_shard(store.read(shard), shard)),
        "shard without pictures": Reader(shard, lambda: read_described(store, shard)),
        "scores": Reader(scores, lambda: read_scores(store, scores)),
        "promotion": Reader(keys.promotion(own, 1, 0), lambda: load_promotion(store, own, 1, 0)),
        "receipt": Reader(
            receipt_key(campaign, a_cat), lambda: read_receipt(store, campaign, a_cat)
        ),
        "results": Reader(part, lambda: read_results(store, campaign.analysis_id, own)),
        "outcomes": Reader(part, lambda: outcomes_by(store, campaign.settings, own)),
        "campaign": Reader(keys.campaign(own), lambda: load_campaign(store, own)),
        "prompts": Reader(keys.prompts(own), lambda: [*load_prompts(store, own)]),
        "control": Reader(keys.control(own), lambda: load_control(store, own)),
        "parked": Reader(keys.parked(own, 1), lambda: load_parked(store, own)),
        "done": Reader(keys.done(own), lambda: load_done(store, own, 2)),
        "verification": Reader(finding("verifications"), lambda: load_verifications(store, before)),
        "calibration": Reader(finding("calibrations"), lambda: load_calibrations(store, before)),
        "comparison": Reader(finding("comparisons"), lambda: load_comparisons(store, before)),
        "duplication": Reader(finding("duplications"), lambda: load_duplications(store, before)),
    }


NAMES = ["shard", "shard without pictures", "scores", "promotion", "receipt", "results", "outcomes",
         "campaign", "prompts", "control", "parked", "done", "verification", "calibration",
         "comparison", "duplication"]  # fmt: skip
OF_JSON = ["campaign", "promotion", "control", "parked", "verification", "calibration",
           "comparison", "duplication"]  # fmt: skip

numbers = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, -1, 2**63, 1e308])
leaves = st.none() | st.booleans() | numbers | st.text(max_size=8)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@contextlib.contextmanager
def holding(store, key, data):
    """Have the object be these bytes for a while."""
    path = store.root / key
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(whole)


def reads_or_refuses(store, reader, data):
    with holding(store, reader.key, data), contextlib.suppress(SeedsweepError):
        reader.read()


def test_every_reader_is_tried(readers):
    assert [*readers] == NAMES
    for reader in readers.values():
        assert reader.read() is not None


@pytest.mark.fuzz
@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes(store, readers, name, data):
    reads_or_refuses(store, readers[name], data)


@cache
def changes(length):
    """What is done to so many bytes: other values, what is put in and where, and a cut."""
    # The end of a Parquet object says how to read the rest.
    places = st.integers(0, length - 1) | st.integers(max(0, length - 600), length - 1)
    others = st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)
    return st.tuples(others, st.none() | places, st.binary(max_size=8), places)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", NAMES)
@given(draw=st.data())
def test_bytes_of_ours_that_were_changed_cut_or_put_in(store, readers, name, draw):
    data = bytearray((store.root / readers[name].key).read_bytes())
    others, cut, put_in, at = draw.draw(changes(len(data)))
    for place, byte in others:
        data[place] = byte
    changed = bytes(data[:at]) + put_in + bytes(data[at:])
    reads_or_refuses(store, readers[name], changed if cut is None else changed[:cut])


@cache
def meddlings(places):
    """One to three of the places, each with its new value in a tuple, or None to delete it."""
    value = st.none() | st.tuples(values)
    return st.lists(st.tuples(st.sampled_from(places), value), min_size=1, max_size=3)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", OF_JSON)
@given(draw=st.data())
def test_records_of_ours_with_other_values(store, readers, name, draw):
    record = json.loads((store.root / readers[name].key).read_bytes())
    for (*path, last), value in draw.draw(meddlings(tuple(_places(record)))):
        parent = record
        with contextlib.suppress(LookupError, TypeError):  # what was above it has gone
            for step in path:
                parent = parent[step]
            if value is None:
                del parent[last]
            else:
                [parent[last]] = value
    reads_or_refuses(store, readers[name], json.dumps(record).encode())


def _places(value, path=()):
    """The path of every value within a record."""
    if isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, step)
            yield from _places(inner, (*path, step))
