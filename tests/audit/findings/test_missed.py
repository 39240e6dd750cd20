import numpy as np
import pytest

from seedsweep.audit.findings.missed import gather_missed, missed_words, stage_words
from seedsweep.audit.findings.same_prompts import once
from seedsweep.storage.prompt_results import Drop
from seedsweep.storage.records import prompt_id_of
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.sampling import Stage
from tests.support.campaigns import make_campaign
from tests.support.results import make_flagged, make_result

SEEDS = 100


def campaign(share):
    return make_campaign(
        stages=(Stage(seeds=8), Stage(seeds=32, min_clique_size=3)),
        missed_sample=share,
        seeds=SEEDS,
        analysis=Analysis(min_clique_size=10),
    )


def results(rng, share, counts):
    """Results of so many prompts: of each (stage, near) so many would be dropped, of which this
    share would be flagged; besides some that went on. Also how many flagged ones are missed."""
    made, missed = [], 0
    for number in range(20):
        made.append((make_flagged if number < 5 else make_result)(prompt=f"went on {number}"))
    for (stage, near), (n, flagged) in counts.items():
        of_it = rng.random(n) < flagged
        sampled = rng.random(n) < min(1, share * (10 if near else 1))
        for number in range(n):
            drop = Drop(stage=stage, near=near, sampled=bool(sampled[number]))
            found = bool(sampled[number] and of_it[number])
            make = make_flagged if found else make_result
            seeds = SEEDS if sampled[number] else 8
            made.append(make(prompt=f"{stage} {near} {number}", drop=drop, seeds=seeds))
        missed += int((of_it & ~sampled).sum())
    return made, missed


COUNTS = {
    (1, True): (40, 0.3),
    (1, False): (500, 0.02),
    (2, True): (30, 0.5),
    (2, False): (60, 0.1),
}


def test_the_estimate_is_right_on_average_and_its_interval_nearly_always():
    rng = np.random.default_rng(0)
    off, covered, rounds = [], 0, 120
    for _ in range(rounds):
        made, missed = results(rng, 0.05, COUNTS)
        found = gather_missed(campaign(0.05), made, {})
        off.append(found.missed - missed)
        covered += found.low <= missed <= found.high
    assert abs(np.mean(off)) < 4 * np.std(off) / np.sqrt(rounds)
    assert covered >= 0.95 * rounds


def test_the_interval_holds_nearly_always_if_most_of_a_few_are_sampled():
    rng = np.random.default_rng(4)
    covered, rounds = 0, 60
    for _ in range(rounds):
        made, missed = results(rng, 0.08, {(1, True): (20, 0.1), (2, True): (12, 0.2)})
        found = gather_missed(campaign(0.08), made, {})
        covered += found.low <= missed <= found.high
    assert covered >= 0.95 * rounds


def test_every_prompt_is_counted_once():
    made, _ = results(np.random.default_rng(1), 0.05, COUNTS)
    found = gather_missed(campaign(0.05), made, {})
    first, second = found.stages
    assert first.prompts == len(made)
    for stage in found.stages:
        assert stage.prompts == stage.went_on + stage.dropped + stage.sampled
    assert second.prompts == first.went_on
    assert sum(stratum.prompts for stratum in found.strata) == 630
    assert found.recall_at_least <= found.recall <= 1


def test_without_a_sample_nothing_is_excluded():
    made, _ = results(np.random.default_rng(2), 0.0, {(1, False): (100, 0.0)})
    found = gather_missed(campaign(0.0), made, {})
    assert (found.missed, found.low, found.high) == (0, 0, 100)
    assert found.recall_at_least == pytest.approx(5 / 105)


def test_a_sample_of_all_leaves_nothing_unknown():
    made, _ = results(np.random.default_rng(3), 1.0, {(1, False): (50, 0.2)})
    found = gather_missed(campaign(1.0), made, {})
    assert (found.missed, found.low, found.high) == (0, 0, 0)
    assert found.recall == 1


def renamed(result, text):
    return result.model_copy(update={"prompt": text, "prompt_id": prompt_id_of(text)})


def test_prompts_that_are_the_same_are_missed_or_found_together_and_count_once():
    """Each prompt comes a second time, in capitals, and is drawn into the sample apart."""
    rng = np.random.default_rng(5)
    made, _ = results(rng, 0.05, COUNTS)
    again, _ = results(rng, 0.05, COUNTS)
    second = [renamed(result, result.prompt.upper()) for result in again]
    first = {text.prompt.upper(): text.prompt for text in made}
    alone = gather_missed(campaign(0.05), made, {})
    both = gather_missed(campaign(0.05), [*second, *made], first)
    assert both.same == len(made)
    names = ("strata", "found", "missed", "low", "high")
    assert [getattr(both, name) for name in names] == [getattr(alone, name) for name in names]
    assert both.stages[0].prompts == 2 * len(made)
    (said,) = (words for words in missed_words(both, campaign(0.05)) if "left out" in words)
    assert said.startswith(f"Of these counts of what is missed and found, {len(made)} prompts are")
    assert not any("left out" in words for words in missed_words(alone, campaign(0.05)))


def test_which_of_those_that_are_the_same_counts_does_not_go_by_what_was_found():
    texts = ["b", "B", "bB"]
    first = {"B": "b", "bB": "b"}
    for flagged in texts:
        made = [(make_flagged if t == flagged else make_result)(prompt=t) for t in texts]
        for order in (made, made[::-1]):
            assert [r.prompt for r in once(order, first)] == ["b"]
            later = [r for r in order if r.prompt != "b"]
            (kept,) = once(later, first)
            assert kept.prompt_id == min(r.prompt_id for r in later)
    assert once(made, {}) == made


def test_a_sampled_prompt_that_lacks_pictures_tells_nothing():
    """As units of it were given up: of the whole attack on it nothing is known."""
    sampled = Drop(stage=1, near=False, sampled=True)
    judged = [make_result(prompt=f"{n}", drop=sampled, seeds=SEEDS) for n in range(3)]
    lacking = [make_result(prompt=f"lacks {n}", drop=sampled, seeds=n) for n in (0, 40, SEEDS - 1)]
    dropped = Drop(stage=1, near=False, sampled=False)
    others = [make_result(prompt=f"dropped {n}", drop=dropped, seeds=8) for n in range(10)]
    found = gather_missed(campaign(0.3), [*judged, *lacking, *others], {})
    (stratum,) = found.strata
    assert (stratum.prompts, stratum.sampled, stratum.judged) == (16, 6, 3)
    # The 3 that were judged are none of 10 among 16 in 20 of 560 ways, and none of 11 in 10 of 560.
    assert (found.low, found.high) == (0, 10)
    assert (
        "told from 3 of them that got all" in stage_words(campaign(0.3), [*judged, *lacking], {})[1]
    )


def test_what_lacks_pictures_is_stood_for_by_the_rest_of_the_sample():
    """The estimate is right on average if it hits the sampled at random."""
    rng, off = np.random.default_rng(0), []
    for _ in range(120):
        made, missed = results(rng, 0.2, {(1, False): (300, 0.3)})
        cut = rng.random(len(made)) < 0.4
        left = [
            make_result(prompt=r.prompt, drop=r.drop, seeds=8)
            if r.drop and r.drop.sampled and c
            else r
            for r, c in zip(made, cut, strict=True)
        ]
        lost = sum(a.flagged and not b.flagged for a, b in zip(made, left, strict=True))
        off.append(gather_missed(campaign(0.2), left, {}).missed - missed - lost)
    assert abs(np.mean(off)) < 4 * np.std(off) / np.sqrt(len(off))


def test_it_is_told_in_sentences():
    made, _ = results(np.random.default_rng(1), 0.05, COUNTS)
    spared, missed, bound = stage_words(campaign(0.05), made, {})
    assert spared.startswith("Stages: ")
    assert missed.startswith("Missed: about ")
    assert bound.startswith("Whatever the rates are")
    assert stage_words(campaign(0.05), [], {}) == ()
    assert stage_words(make_campaign(), made, {}) == ()
