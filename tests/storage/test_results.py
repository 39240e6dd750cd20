import io
from itertools import permutations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import keys
from storage.errors import ShardCorruptError
from storage.records import Match, Prompt, PromptResult
from storage.results import read_results, store_results
from storage.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def result(prompt="a", **changes):
    usual = {
        "prompt_id": Prompt(text=prompt).prompt_id,
        "prompt": prompt,
        "seeds": 500,
        "seeds_digest": "0123456789abcdef",
        "excluded": 0,
        "edges": 0,
        "clique_size": 0,
        "clique_seeds": (),
        "clique_proven": True,
        "clique_upper_bound": 3,
        "mean_distance": None,
        "flagged": False,
        "representative_seed": None,
        "match": None,
    }
    return PromptResult(**usual | changes)


def flagged(prompt, mean_distance, **changes):
    usual = {
        "flagged": True,
        "mean_distance": mean_distance,
        "clique_size": 2,
        "clique_seeds": (3, 2**62),
        "representative_seed": 3,
    }
    return result(prompt, **usual | changes)


def read(store):
    return read_results(store, "an", "c")


def test_results_are_read_as_they_were_stored(store):
    match = Match(training_id="t#1", l2=0.1, tiled_l2=0.2, adaptive=None, extracted=True)
    results = [
        flagged("<b>Zoë</b>", 0.03, match=match),
        flagged("second", 0.04, match=match.model_copy(update={"adaptive": 0.5})),
        result("third"),
    ]
    store_results(store, "an", "c", results)
    assert read(store) == results


def test_no_results_are_an_empty_list(store):
    assert read(store) == []
    store_results(store, "an", "c", [])
    assert read(store) == []


def test_storing_the_same_results_twice_changes_nothing(store):
    store_results(store, "an", "c", [result("a"), result("b")])
    before = {key: store.read(key) for key in store.list("")}
    store_results(store, "an", "c", [result("a"), result("b")])
    assert {key: store.read(key) for key in store.list("")} == before
    assert len(before) == 1


def test_each_analysis_of_each_campaign_has_its_own_results(store):
    store_results(store, "an", "c", [result("a")])
    store_results(store, "other", "c", [result("b")])
    store_results(store, "an", "cc", [result("c")])
    assert read(store) == [result("a")]
    assert read_results(store, "other", "c") == [result("b")]


@pytest.mark.parametrize("order", permutations([10, 500, 300]))
def test_the_row_with_most_seeds_speaks_for_its_prompt(store, order):
    for seeds in order:
        store_results(store, "an", "c", [result("a", seeds=seeds), result(f"b{seeds}")])
    assert [r.seeds for r in read(store) if r.prompt == "a"] == [500]
    assert len(read(store)) == 4


def test_a_fuller_row_replaces_a_flag_that_it_no_longer_finds(store):
    store_results(store, "an", "c", [flagged("a", 0.01, seeds=10)])
    store_results(store, "an", "c", [result("a", seeds=20)])
    assert read(store) == [result("a", seeds=20)]


def test_results_come_best_first(store):
    ids = sorted(["x", "y"], key=lambda text: Prompt(text=text).prompt_id)
    best_first = [
        flagged("closest", 0.01),
        flagged("bigger clique", 0.02, clique_size=12),
        flagged("more edges", 0.02, clique_size=11, edges=70),
        flagged("fewer edges", 0.02, clique_size=11, edges=60),
        flagged("farthest", 0.2, clique_size=400),
        result("not flagged, some edges", edges=5),
        result(ids[0]),
        result(ids[1]),
    ]
    for shuffled in (best_first[::-1], best_first[::2] + best_first[1::2]):
        store_results(store, "an", "c", shuffled)
        assert read(store) == best_first


def other_parquet():
    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt_id": ["a"]}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"{}", other_parquet()])
def test_a_corrupt_part_is_reported_with_its_key_and_the_remedy(store, data):
    key = keys.results_part("an", "c", "broken")
    store.create(key, data)
    with pytest.raises(ShardCorruptError) as caught:
        read(store)
    assert key in str(caught.value)
    assert "seedsweep analyse c" in str(caught.value)
