import contextlib
import io
from itertools import permutations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedsweep.storage import keys, result_parts
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.errors import ShardCorruptError, StoreUnavailableError
from seedsweep.storage.prompt_results import Clique, Match, PromptResult, Transform
from seedsweep.storage.records import Prompt
from seedsweep.storage.result_parts import SCHEMA, Parts
from seedsweep.storage.results import drop_results, read_results
from seedsweep.storage.stores import open_store
from tests.support.campaigns import make_campaign, make_submission
from tests.support.results import make_result

PROMPTS = ["a", "b", "d", "a cat", *(f"prompt {i}" for i in range(10))]
CAMPAIGN = make_campaign("c", seeds=4)
ID = CAMPAIGN.campaign_id


@pytest.fixture
def store(tmp_path):
    """A store with a campaign of these prompts."""
    store = open_store(str(tmp_path))
    store_campaign(store, make_submission(CAMPAIGN), PROMPTS)
    return store


def read(store):
    return read_results(store, "an", ID)


def other_parquet():
    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt_id": ["a"]}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"{}", other_parquet()])
def test_a_corrupt_part_is_reported_with_its_key_and_the_remedy(store, data):
    key = keys.results_part("an", ID, "broken")
    store.create(key, data)
    with pytest.raises(ShardCorruptError) as caught:
        read(store)
    assert key in str(caught.value)
    assert f"seedsweep analyse {ID}" in str(caught.value)


class TestParts:
    @pytest.fixture
    def parts(self, store, monkeypatch):
        monkeypatch.setattr(result_parts, "SMALL_PARTS", 3)
        return Parts(store)

    def names(self, store):
        return list(store.list(keys.results_prefix("an", ID)))

    def test_small_parts_become_one_and_no_row_is_lost(self, store, parts):
        results = [make_result(prompt=f"prompt {i}") for i in range(10)]
        for each in results:
            parts.add("an", ID, [each])
        assert len(self.names(store)) == 4
        assert {r.prompt for r in read(store)} == {r.prompt for r in results}

    def test_each_analysis_of_each_campaign_is_on_its_own(self, store, parts):
        for analysis_id, campaign_id in permutations(["an", ID, "b"], 2):
            parts.add(analysis_id, campaign_id, [make_result()])
        assert [r.prompt for r in read(store)] == ["a cat"]

    def test_rows_that_were_dropped_do_not_come_back(self, store, parts):
        for name in "ab":
            parts.add("an", ID, [make_result(prompt=name)])
        drop_results(store, ID, {Prompt(text="a").prompt_id})
        parts.add("an", ID, [make_result(prompt="d")])
        assert {r.prompt for r in read(store)} == {"b", "d"}

    @pytest.mark.parametrize("calls", range(5))
    def test_a_merge_that_breaks_off_loses_nothing(self, store, parts, monkeypatch, calls):
        left, delete = [None] * calls, store.delete

        def break_off(key):
            if not left:
                raise StoreUnavailableError("The store is away; bring it back.")
            left.pop()
            delete(key)

        for name in "ab":
            parts.add("an", ID, [make_result(prompt=name)])
        monkeypatch.setattr(store, "delete", break_off)
        with contextlib.suppress(StoreUnavailableError):
            parts.add("an", ID, [make_result(prompt="d")])
        assert {r.prompt for r in read(store)} == {"a", "b", "d"}


def test_the_columns_are_those_of_the_records():
    match = SCHEMA.field("match").type
    clique = SCHEMA.field("further_cliques").type.value_type
    for kind, fields in (
        (PromptResult, SCHEMA),
        (Match, match),
        (Clique, clique),
        (Transform, match.field("transform").type),
    ):
        assert set(kind.model_fields) == {field.name for field in fields}
