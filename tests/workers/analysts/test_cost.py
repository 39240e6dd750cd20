"""What an analysis says that it took is what it took."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.observed_store import ObservedStore, Operation
from seedsweep.storage.records import Flaw
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.storage.settings.sampling import Blocks
from seedsweep.workers import stored_images
from seedsweep.workers.analysis.bounds import candidates
from seedsweep.workers.analysis.descriptors import summarise
from seedsweep.workers.analysts import cost
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.analysts.cost import AnalysisStep, Effort, Tally
from seedsweep.workers.images import decode_png, encode_png
from seedsweep.workers.monitoring.metrics import OPERATIONS, STEPS

SETTINGS = AnalysisSettings(analysis=Analysis(min_clique_size=4))
FULL = AnalysisSettings(analysis=Analysis(min_clique_size=4, matrix="full"))


def pictures(copies, others):
    """Near-copies of one picture, and pictures so unlike it that descriptors tell."""
    rng = np.random.default_rng(0)
    unlike = rng.integers(8, 248, (others + 1, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    near = unlike[:1] + rng.integers(-2, 3, (copies, 32, 32, 3))
    return np.concatenate([near, unlike[1:]]).astype(np.uint8)


@pytest.fixture
def decoded(monkeypatch):
    """How many pictures were decoded, counted by the decoder."""
    calls = []

    def decode(png, width, height, into=None):
        calls.append(png)
        return decode_png(png, width, height, into)

    monkeypatch.setattr(stored_images, "decode_png", decode)
    return calls


@pytest.fixture
def analyst_of():
    """An analyst of a stored prompt, and a call that has it analyse that prompt."""

    def make(stored):
        store_campaign(stored.store, stored.submission, [stored.text])
        analyst = AnalysisActor(stored.store.url)
        campaign_id = stored.submission.campaign.campaign_id
        return lambda settings=SETTINGS: analyst.analyse(
            AnalysisRequest(campaign_id, stored.text, settings)
        )

    return make


def steps(analysed):
    return dict(analysed.effort.steps)


def requests(analysed):
    return [(r.operation, r.size, r.failed) for r in analysed.effort.requests]


def test_steps_and_operations_are_those_of_the_metrics():
    assert get_args(AnalysisStep) == STEPS
    assert get_args(Operation) == OPERATIONS


@pytest.mark.parametrize(("copies", "others"), [(0, 12), (3, 9), (5, 7), (12, 0)])
def test_pruned_only_what_may_join_a_clique_is_decoded_and_counted_so(
    store_prompt, analyst_of, decoded, copies, others
):
    stored = store_prompt(pictures(copies, others), per_shard=5)
    images = stored.read().images
    summaries = summarise([i.descriptor for i in images], 32, 32, images[0].blocks)
    possible = candidates(summaries, 32, 32, 4, 0.1, 4)
    analysed = analyst_of(stored)()
    effort = analysed.effort
    assert (effort.images, effort.pairs) == (12, 12 * 11 // 2)
    assert effort.candidate_pairs == sum(possible[i, j] for i in range(12) for j in range(i))
    assert effort.decoded == len(decoded) == (copies if copies >= 4 else 0)
    assert analysed.value.edges <= effort.candidate_pairs
    expected = {"read", "prune", "compare", "clique"} | ({"decode"} if decoded else set())
    assert steps(analysed).keys() == expected


def test_the_full_matrix_prunes_nothing_and_decodes_all(store_prompt, analyst_of, decoded):
    analysed = analyst_of(store_prompt(pictures(5, 7), per_shard=5))(FULL)
    effort = analysed.effort
    assert (effort.images, effort.pairs, effort.candidate_pairs) == (12, 66, 66)
    assert effort.decoded == len(decoded) == 12
    assert steps(analysed).keys() == {"read", "decode", "compare", "clique"}


@pytest.mark.parametrize("settings", [SETTINGS, FULL], ids=["pruned", "full"])
def test_pictures_that_are_no_evidence_are_not_judged(store_prompt, analyst_of, decoded, settings):
    flaws = dict.fromkeys(range(4), Flaw.BLANKED)
    effort = analyst_of(store_prompt(pictures(5, 7), flaws))(settings).effort
    assert (effort.images, effort.pairs) == (8, 28)
    assert effort.decoded == len(decoded) == (8 if settings == FULL else 0)


def test_a_match_is_a_step_of_flagged_prompts(store_prompt, analyst_of, tmp_path):
    folder = tmp_path / "training"
    folder.mkdir()
    for number, picture in enumerate(pictures(1, 5)):
        (folder / f"{number}.png").write_bytes(encode_png(picture))
    verification = Verification(training_set=str(folder))
    verified = SETTINGS.model_copy(update={"verification": verification})
    analyse = analyst_of(store_prompt(pictures(5, 7)))
    assert "match" in steps(analyse(verified))
    assert "match" not in steps(analyse())


@pytest.mark.parametrize("settings", [SETTINGS, FULL], ids=["pruned", "full"])
def test_the_steps_take_no_longer_than_the_whole(store_prompt, analyst_of, settings):
    analyse = analyst_of(store_prompt(pictures(5, 7), per_shard=3))
    for analysed in (analyse(settings), analyse(settings)):
        seconds = steps(analysed).values()
        assert all(taken > 0 for taken in seconds)
        assert sum(seconds) <= analysed.seconds


def test_every_request_to_the_store_is_told_once_and_with_the_prompt_it_was_for(
    store_prompt, analyst_of
):
    stored = store_prompt(pictures(5, 7), per_shard=4)
    seen = []
    replace(stored, store=ObservedStore(stored.store, seen.append)).read()
    descriptors = [(r.operation, r.size, r.failed) for r in seen]
    shards = [("read", len(stored.store.read(key)), False) for key in stored.keys[:2]]
    analyse = analyst_of(stored)
    first, second = requests(analyse()), requests(analyse())
    assert second == descriptors + shards
    assert first[-len(second) :] == second
    assert {operation for operation, _, _ in first[: -len(second)]} == {"read"}  # the campaign


def test_the_effort_of_a_try_in_vain_counts(store_prompt, analyst_of, decoded):
    stored = store_prompt(pictures(12, 0), per_shard=4)
    stored.alter(1, lambda images: [replace(images[0], png=images[1].png), *images[1:]])
    analysed = analyst_of(stored)()
    effort = analysed.effort
    assert analysed.value.seeds == 8
    assert (effort.images, effort.pairs) == (12 + 8, 66 + 28)
    assert effort.decoded == len(decoded) == 4 + 1 + 8
    assert sum(steps(analysed).values()) <= analysed.seconds


def test_a_request_that_the_store_failed_is_told_though_there_is_no_result(
    store_prompt, analyst_of
):
    stored = store_prompt(pictures(5, 7), per_shard=4)
    analyse = analyst_of(stored)
    analyse()
    shard = stored.store.root / stored.keys[1]
    shard.unlink()
    shard.symlink_to(shard.name)  # which leads nowhere but to itself
    analysed = analyse()
    assert analysed.result is None
    assert [r[0] for r in requests(analysed) if r[2]] == ["read_range"]
    assert len(requests(analysed)) > 1
    assert analysed.effort.images == 0
    assert steps(analysed).keys() == {"read"}


def test_what_a_receipt_answers_takes_no_more_than_reading(store_prompt, decoded):
    stored = store_prompt(pictures(0, 12), per_shard=4, keep="flagged")
    store_campaign(stored.store, stored.submission, [stored.text])
    analyst = AnalysisActor(stored.store.url)
    request = AnalysisRequest(
        stored.submission.campaign.campaign_id, stored.text, SETTINGS, receipt=True
    )
    assert requests(analyst.analyse(request))[-1][0] == "replace"
    for key in stored.keys:
        stored.store.delete(key)
    again = analyst.analyse(request)
    assert again.receipted
    effort = again.effort
    assert (effort.images, effort.pairs, effort.candidate_pairs, effort.decoded) == (0, 0, 0, 0)
    assert steps(again).keys() == {"read"}
    assert decoded == []


def test_shards_described_with_other_blocks_are_decoded_to_be_pruned_and_counted(
    store_prompt, analyst_of, decoded
):
    mixed = (Blocks(), Blocks(fine=2, coarse=8), Blocks())
    analysed = analyst_of(store_prompt(pictures(0, 12), per_shard=4, blocks=mixed))()
    assert analysed.effort.decoded == len(decoded) == 4
    assert steps(analysed).keys() == {"read", "prune", "decode", "compare", "clique"}
    assert sum(steps(analysed).values()) <= analysed.seconds


Nested = st.recursive(
    st.just([]), lambda inner: st.lists(st.tuples(st.sampled_from(STEPS), inner), max_size=3)
)


@given(Nested)
def test_each_moment_belongs_to_the_innermost_step(nested):
    """Each reading of the clock is one tick later, and each step begins and ends with one."""
    ticks = iter(range(10_000))
    expected = {}

    def take(tally, block):
        for step, inner in block:
            expected[step] = expected.get(step, 0) + 1 + len(inner)
            with tally.step(step):
                take(tally, inner)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost.time, "perf_counter", lambda: float(next(ticks)))
        tally = Tally()
        take(tally, nested)
    assert dict(tally.effort(()).steps) == expected


def test_a_step_that_breaks_off_is_counted_and_ended():
    tally = Tally()
    with pytest.raises(KeyError), tally.step("read"):
        raise KeyError
    ((name, seconds),) = tally.effort(()).steps
    with tally.step("clique"):
        pass
    assert (name, tally.effort(()).steps[0]) == ("read", ("read", seconds))


def test_without_anything_done_there_is_no_effort():
    assert Tally().effort(()) == Effort(0, 0, 0, 0, (), ())
