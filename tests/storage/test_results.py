from itertools import permutations

import pytest

from seedsweep.storage import keys
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.errors import ShardCorruptError, StoreUnavailableError
from seedsweep.storage.prompt_results import Clique, Match, Part, PromptResult, Transform
from seedsweep.storage.record import digest
from seedsweep.storage.records import Prompt
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import drop_results, outcomes_by, read_results, results_by
from seedsweep.storage.settings.analysis import AnalysisSettings, Verification
from seedsweep.storage.stores import open_store
from tests.support.campaigns import make_campaign, make_submission

PROMPTS = [
    *("a", "b", "c", "d", "x", "y", "b10", "b300", "b500", "<b>Zoë</b>", "second", "third"),
    *("of several pictures", "closest", "bigger clique", "more edges", "fewer edges", "farthest"),
    "not flagged, some edges",
    *(f"prompt {i}" for i in range(10)),
]
CAMPAIGN, OTHER_CAMPAIGN = (make_campaign(name, seeds=500) for name in ("c", "cc"))
ID, OTHER = CAMPAIGN.campaign_id, OTHER_CAMPAIGN.campaign_id


@pytest.fixture
def store(tmp_path):
    """A store with two campaigns of these prompts."""
    store = open_store(str(tmp_path))
    for campaign in (CAMPAIGN, OTHER_CAMPAIGN):
        store_campaign(store, make_submission(campaign), PROMPTS)
    return store


PART = Part(seeds=(3, 5, 7), whole_seeds=(3, 5), tiles=(1, 2), share=0.25, representative_seed=5)


def parts_of(store):
    """What all parts of results hold, by key."""
    return {key: store.read(key) for key in store.list(keys.RESULTS)}


def result(prompt="a", seeds=500, **changes):
    usual = {
        "prompt_id": Prompt(text=prompt).prompt_id,
        "prompt": prompt,
        "seeds": seeds,
        "seeds_digest": digest([*range(seeds)]),
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


def flagged(prompt, mean_distance, size=2, **changes):
    usual = {
        "flagged": True,
        "mean_distance": mean_distance,
        "clique_size": size,
        "clique_seeds": tuple(range(3, size + 3)),
        "representative_seed": 3,
    }
    return result(prompt, **usual | changes)


def read(store):
    return read_results(store, "an", ID)


def test_results_are_read_as_they_were_stored(store):
    how = Transform(width=9, height=8, resize="short-side", crop="center", flip=True)
    match = Match(
        training_id="t#1", l2=0.1, tiled_l2=0.2, adaptive=None, extracted=True, transform=how
    )
    other = Clique(clique_seeds=(4, 499), mean_distance=0.06, representative_seed=4, match=match)
    unmatched = other.model_copy(update={"match": None})
    results = [
        flagged("<b>Zoë</b>", 0.03, match=match),
        flagged("second", 0.04, match=match.model_copy(update={"adaptive": 0.5})),
        flagged("of several pictures", 0.05, match=match, further_cliques=(other, unmatched)),
        result("third"),
        result("b", parts=(PART, PART.model_copy(update={"share": 0.5})), parts_proven=False),
    ]
    store_results(store, "an", ID, results)
    assert sorted(read(store), key=lambda r: r.prompt) == sorted(results, key=lambda r: r.prompt)


def test_a_mask_beside_the_results_is_none_of_them(store):
    store_results(store, "an", ID, [result(parts=(PART,))])
    store.replace(keys.mask("an", ID, result().prompt_id, 0), b"no Parquet")
    assert read(store) == [result(parts=(PART,))]
    drop_results(store, ID, [result().prompt_id])
    assert read(store) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"representative_seed": 8},
        {"whole_seeds": (3, 9)},
        {"seeds": (7, 3, 5)},
        {"tiles": (2, 1)},
        {"share": 1.5},
    ],
)
def test_a_part_that_contradicts_itself_is_refused(wrong):
    with pytest.raises(ValueError, match="validation error for Part"):
        Part.model_validate(PART.model_dump() | wrong)


def test_a_part_of_seeds_that_the_campaign_has_not_is_refused(store):
    beyond = PART.model_copy(update={"seeds": (3, 5, 7, 500)})
    store_results(store, "an", ID, [result(parts=(beyond,))])
    with pytest.raises(ShardCorruptError, match="a part has seeds that the campaign has not"):
        read(store)


def test_no_results_are_an_empty_list(store):
    assert read(store) == []
    store_results(store, "an", ID, [])
    assert read(store) == []


def test_storing_the_same_results_twice_changes_nothing(store):
    store_results(store, "an", ID, [result("a"), result("b")])
    before = parts_of(store)
    store_results(store, "an", ID, [result("a"), result("b")])
    assert parts_of(store) == before
    assert len(before) == 1


def test_each_analysis_of_each_campaign_has_its_own_results(store):
    store_results(store, "an", ID, [result("a")])
    store_results(store, "other", ID, [result("b")])
    store_results(store, "an", OTHER, [result("c")])
    assert read(store) == [result("a")]
    assert read_results(store, "other", ID) == [result("b")]


@pytest.mark.parametrize("order", list(permutations([10, 500, 300])))
def test_the_row_with_most_seeds_speaks_for_its_prompt(store, order):
    for seeds in order:
        store_results(store, "an", ID, [result("a", seeds=seeds), result(f"b{seeds}")])
    assert [r.seeds for r in read(store) if r.prompt == "a"] == [500]
    assert len(read(store)) == 4


def test_a_fuller_row_replaces_a_flag_that_it_no_longer_finds(store):
    store_results(store, "an", ID, [flagged("a", 0.01, seeds=10)])
    store_results(store, "an", ID, [result("a", seeds=20)])
    assert read(store) == [result("a", seeds=20)]


def test_results_come_best_first(store):
    ids = sorted(["x", "y"], key=lambda text: Prompt(text=text).prompt_id)
    best_first = [
        flagged("closest", 0.01),
        flagged("bigger clique", 0.02, size=12),
        flagged("more edges", 0.02, size=11, edges=70),
        flagged("fewer edges", 0.02, size=11, edges=60),
        flagged("farthest", 0.2, size=400),
        result("not flagged, some edges", edges=5),
        result(ids[0]),
        result(ids[1]),
    ]
    for shuffled in (best_first[::-1], best_first[::2] + best_first[1::2]):
        store_results(store, "an", ID, shuffled)
        assert read(store) == best_first


def ids(*prompts):
    return {Prompt(text=text).prompt_id for text in prompts}


def test_dropped_results_are_gone_from_every_analysis_of_the_campaign_and_no_others(store):
    kept = [flagged("b", 0.01), result("c")]
    for analysis_id in ("an", "other"):
        store_results(store, analysis_id, ID, [result("a", seeds=9), *kept])
        store_results(store, analysis_id, ID, [flagged("a", 0.02), result("d")])
        store_results(store, analysis_id, ID, [result("a", seeds=7), result("d", seeds=7)])
        store_results(store, analysis_id, ID, [result("a", seeds=8)])
        store_results(store, analysis_id, OTHER, [result("a")])
    drop_results(store, ID, ids("a", "d", "of another campaign"))
    for analysis_id in ("an", "other"):
        assert read_results(store, analysis_id, ID) == kept
        assert len(list(store.list(keys.results_prefix(analysis_id, ID)))) == 1
        assert read_results(store, analysis_id, OTHER) == [result("a")]


def test_parts_without_the_dropped_prompts_are_left_as_they_are(store):
    store_results(store, "an", ID, [result("b", seeds=9), result("c")])
    store_results(store, "an", ID, [result("b")])
    store_results(store, "an", ID, [])
    before = parts_of(store)
    drop_results(store, ID, ids("a"))
    drop_results(store, ID, [])
    assert parts_of(store) == before


def test_where_nothing_is_stored_nothing_is_dropped(store):
    drop_results(store, ID, ids("a"))
    assert list(store.list(keys.RESULTS)) == []


def test_a_result_stored_after_a_drop_speaks_for_its_prompt(store):
    store_results(store, "an", ID, [flagged("a", 0.01), result("b")])
    drop_results(store, ID, ids("a"))
    store_results(store, "an", ID, [result("a")])
    assert read(store) == sorted([result("a"), result("b")], key=lambda r: r.prompt_id)


class Dying:
    """A store whose process is killed instead of making a change, after so many changes."""

    def __init__(self, store, changes):
        self._store, self._left = store, changes

    def __getattr__(self, name):
        if name in ("create", "replace", "delete"):
            if not self._left:
                raise StoreUnavailableError("Killed; start it again.")
            self._left -= 1
        return getattr(self._store, name)


@pytest.mark.parametrize("changes", range(8))
def test_whatever_ends_a_drop_early_no_other_row_is_lost_and_the_next_drop_ends_it(store, changes):
    rows = [("b", 300), ("b", 500), ("c", 500), ("d", 400)]
    for text, seeds in rows:
        store_results(store, "an", ID, [result("a", seeds=seeds), result(text, seeds=seeds)])
    kept = sorted([result("b"), result("c"), result("d", seeds=400)], key=lambda r: r.prompt_id)
    with pytest.raises(StoreUnavailableError):
        drop_results(Dying(store, changes), ID, ids("a"))
    assert [r for r in read(store) if r.prompt != "a"] == kept
    drop_results(store, ID, ids("a"))
    assert read(store) == kept
    assert len(list(store.list(keys.RESULTS))) == len(rows)


@pytest.mark.parametrize("reader", ["read", "drop"])
def test_a_part_that_is_replaced_while_parts_are_read_is_neither_lost_nor_corrupt(
    store, monkeypatch, reader
):
    store_results(store, "an", ID, [result("a"), result("b")])
    store_results(store, "an", ID, [result("a"), result("c")])
    whole, raced = store.read, []

    def race(key):
        if not raced:
            raced.append(key)
            drop_results(store, ID, ids("a"))
        return whole(key)

    monkeypatch.setattr(store, "read", race)
    if reader == "drop":
        drop_results(store, ID, ids("b"))
    assert {r.prompt for r in read(store)} == ({"b", "c"} if reader == "read" else {"c"})
    assert raced


def test_a_corrupt_part_ends_a_drop_before_anything_of_its_analysis_is_dropped(store):
    store_results(store, "an", ID, [result("a"), result("b")])
    key = keys.results_part("an", ID, "zzz")
    store.create(key, b"PAR1")
    with pytest.raises(ShardCorruptError, match=key):
        drop_results(store, ID, ids("a"))
    store.delete(key)
    assert {r.prompt for r in read(store)} == {"a", "b"}


def test_prompts_that_an_earlier_version_alone_judged_are_read_from_there(store):
    settings = AnalysisSettings(verification=Verification(training_set="t", fingerprint="f"))
    [before] = settings.earlier_ids
    store_results(store, before, ID, [result("a"), result("b"), flagged("d", 0.1)])
    store_results(store, settings.analysis_id, ID, [flagged("a", 0.3), result("b", seeds=9)])
    found = {each.prompt: (each.flagged, each.seeds) for each in results_by(store, settings, ID)}
    assert found == {"d": (True, 500), "a": (True, 500), "b": (False, 500)}
    outcomes = outcomes_by(store, settings, ID)
    assert {(each.flagged, each.seeds) for each in outcomes.values()} == set(found.values())
    assert AnalysisSettings().earlier_ids == ()
