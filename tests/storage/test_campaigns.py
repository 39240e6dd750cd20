import io
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.storage import keys
from seedsweep.storage.campaigns import (
    drop_parked,
    forget_done,
    list_campaigns,
    load_campaign,
    load_control,
    load_done,
    load_parked,
    load_prompts,
    load_verifications,
    store_campaign,
    store_control,
    store_done,
    store_parked,
    store_verification,
)
from seedsweep.storage.errors import ConfigError, ShardCorruptError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Control, Parked, Prompt
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.stores import open_store
from seedsweep.storage.verification_results import ControlMatches, Coverage, VerificationResult
from tests.support.campaigns import make_campaign, make_submission

PROMPTS = ['a "quoted" cat', "<b>Zoë</b>", "line\nbreak", "last"]


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def submission(name="audit", submitted_at="2026-01-01T00:00:00+00:00"):
    return make_submission(make_campaign(name, prompts=len(PROMPTS)), at=submitted_at)


ID, OTHER = (submission(name).campaign.campaign_id for name in ("audit", "other"))


@pytest.fixture
def parking(store):
    """A store with two campaigns of four units, one a prompt."""
    for name in ("audit", "other"):
        store_campaign(store, submission(name), PROMPTS)
    return store


def parked(index, reason="out of luck", **changes):
    prompt_id = Prompt(text=PROMPTS[index % len(PROMPTS)]).prompt_id
    usual = {"index": index, "prompt_id": prompt_id, "seeds": SeedRange(first=0, last=5)}
    return Parked(**usual | {"reason": reason} | changes)


def test_a_stored_campaign_is_loaded_as_it_was_submitted(store):
    stored = store_campaign(store, submission(), PROMPTS)
    assert stored == submission()
    campaign_id = stored.campaign.campaign_id
    assert load_campaign(store, campaign_id) == submission()
    assert list(load_prompts(store, campaign_id)) == PROMPTS


def test_the_prompts_are_stored_with_their_ids(store):
    campaign_id = store_campaign(store, submission(), PROMPTS).campaign.campaign_id
    table = pq.read_table(io.BytesIO(store.read(keys.prompts(campaign_id))))
    assert table.column("prompt_id").to_pylist() == [Prompt(text=t).prompt_id for t in PROMPTS]


def test_the_first_submission_of_a_campaign_stays(store):
    first = store_campaign(store, submission(submitted_at="2026-01-01"), PROMPTS)
    again = store_campaign(store, submission(submitted_at="2026-02-02"), PROMPTS)
    assert again == first
    assert list_campaigns(store) == [first.campaign.campaign_id]


def test_campaigns_are_listed_newest_first(store):
    for name, at in [("b", "2026-01-02"), ("a", "2026-01-03"), ("c", "2026-01-01")]:
        store_campaign(store, submission(name, at), PROMPTS)
    assert [campaign_id.partition("-")[0] for campaign_id in list_campaigns(store)] == list("abc")


def test_a_campaign_whose_prompts_alone_are_stored_cannot_be_seen(store):
    campaign_id = submission().campaign.campaign_id
    store.create(keys.prompts(campaign_id), b"half submitted")
    assert list_campaigns(store) == []


@pytest.mark.parametrize("wanted", ["nope", "", "../x", "a b", "nope\n"])
def test_an_unknown_campaign_is_refused(store, wanted):
    store_campaign(store, submission(), PROMPTS)
    with pytest.raises(ConfigError, match="knows no campaign") as caught:
        load_campaign(store, wanted)
    assert repr(wanted) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"campaign": {}}', b"\xff\xfe"])
def test_a_corrupt_campaign_is_reported_with_its_key(store, data):
    campaign_id = store_campaign(store, submission(), PROMPTS).campaign.campaign_id
    store.replace(keys.campaign(campaign_id), data)
    with pytest.raises(ShardCorruptError, match=keys.campaign(campaign_id)):
        load_campaign(store, campaign_id)


def other_parquet():
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"]}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("data", [None, b"", b"PAR1", other_parquet()])
def test_corrupt_or_missing_prompts_are_reported_with_their_key(store, data):
    campaign_id = store_campaign(store, submission(), PROMPTS).campaign.campaign_id
    store.delete(keys.prompts(campaign_id))
    if data is not None:
        store.create(keys.prompts(campaign_id), data)
    with pytest.raises(ShardCorruptError, match=keys.prompts(campaign_id)):
        load_prompts(store, campaign_id)


def test_a_campaign_is_wanted_active_until_someone_says_otherwise(store):
    assert load_control(store, "c") == Control(state="active")
    for state in ("paused", "active", "cancelled"):
        store_control(store, "c", Control(state=state))
        assert load_control(store, "c") == Control(state=state)


def test_a_corrupt_control_is_reported_and_not_taken_for_active(store):
    store.create(keys.control("c"), b'{"state": "asleep"}')
    with pytest.raises(ShardCorruptError, match=r"control\.json"):
        load_control(store, "c")


def test_parked_units_are_loaded_by_index(parking):
    assert load_parked(parking, ID) == []
    for index in (2, 1, 3):
        store_parked(parking, ID, parked(index))
    store_parked(parking, OTHER, parked(1))
    assert [record.index for record in load_parked(parking, ID)] == [1, 2, 3]


def test_the_first_reason_for_parking_a_unit_stays(parking):
    store_parked(parking, ID, parked(3, "first"))
    store_parked(parking, ID, parked(3, "second"))
    assert load_parked(parking, ID) == [parked(3, "first")]


def test_a_dropped_unit_is_parked_no_more_and_may_be_parked_again_for_another_reason(parking):
    drop_parked(parking, ID, 3)
    store_parked(parking, ID, parked(3, "first"))
    store_parked(parking, ID, parked(2))
    drop_parked(parking, ID, 3)
    assert load_parked(parking, ID) == [parked(2)]
    store_parked(parking, ID, parked(3, "second"))
    assert load_parked(parking, ID)[1].reason == "second"


def test_a_unit_that_is_dropped_while_the_parked_ones_are_read_is_left_out(parking, monkeypatch):
    for index in (3, 2):
        store_parked(parking, ID, parked(index))
    listed = list(parking.list(keys.parked_prefix(ID)))
    monkeypatch.setattr(parking, "list", lambda prefix: iter(listed))
    drop_parked(parking, ID, 3)
    assert load_parked(parking, ID) == [parked(2)]


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_what_is_done_is_read_as_it_was_noted(bits):
    with TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        assert load_done(store, "c", len(bits)) is None
        store_done(store, "c", np.array(bits))
        assert load_done(store, "c", len(bits)).tolist() == bits
        forget_done(store, "c")
        assert load_done(store, "c", len(bits)) is None


@pytest.mark.parametrize("data", [b"", b"nonsense", zlib.compress(b"\1\2"), zlib.compress(b"")])
def test_a_note_of_another_campaign_or_a_broken_one_counts_as_none(store, data):
    store.create(keys.done("c"), data)
    assert load_done(store, "c", 8) is None


def verification(at="2026-01-01", **changes):
    usual = {
        "campaign_id": "audit-0123456789ab",
        "analysis_id": "0" * 16,
        "settings": Verification(training_set="/t"),
        "verified_at": at,
        "versions": "v",
        "coverage": Coverage(path="/t", listing="1", pictures=3, unreadable=1),
        "cliques": (),
        "not_verified": (),
        "groups": (("a.png", "b.png"),),
    }
    return VerificationResult(**usual | changes)


def controls(listing):
    coverage = Coverage(path="/c", listing=listing, pictures=2, unreadable=0)
    return ControlMatches(coverage=coverage, whole=True, searched=2, matches=1)


OTHER_SEARCHES = [
    {"settings": Verification(training_set="/t", flip=True)},
    {"analysis_id": "1" * 16},
    {"settings": Verification(training_set="/t", threshold=0.2)},
    {"coverage": Coverage(path="/t", listing="2", pictures=3, unreadable=1)},
    {"controls": controls("1")},
    {"controls": controls("2")},
]


def test_what_searches_of_training_sets_found_comes_back_newest_first(store):
    first, *others = (
        verification(),
        *(verification(f"2026-01-0{i + 2}", **changes) for i, changes in enumerate(OTHER_SEARCHES)),
    )
    for result in (first, *others):
        store_verification(store, result)
    assert load_verifications(store, first.campaign_id) == [*reversed(others), first]
    assert load_verifications(store, "another") == []


def test_the_same_search_again_takes_the_place_of_the_first(store):
    store_verification(store, verification())
    again = verification("2027-01-01", settings=Verification(training_set="/moved"), groups=())
    store_verification(store, again)
    assert load_verifications(store, again.campaign_id) == [again]
