from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seedsweep.scheduler.campaign.file import parse_campaign
from seedsweep.scheduler.campaign.stages import (
    SURE_LOSS,
    default_stages,
    loss_bound,
    loss_words,
    surely_found,
)
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.sampling import Stage
from tests.support.campaigns import make_campaign


def campaign(*stages, seeds=500, size=10, **analysis):
    return make_campaign(
        stages=stages, seeds=seeds, analysis=Analysis(min_clique_size=size, **analysis)
    )


def parse(stages, **changes):
    usual = {"name": "x", "model": {"path": "m"}, "prompts": {"file": "p.txt"}}
    return parse_campaign({**usual, "stages": stages, **changes}, Path("c.toml"))


@pytest.mark.parametrize(
    ("seeds", "size", "lost"), [(16, 10, 0.96), (64, 10, 0.63), (128, 10, 0.23), (200, 10, 0.045)]
)
def test_a_pair_among_the_first_seeds_is_missed_with_a_known_probability(seeds, size, lost):
    bound = loss_bound(campaign(Stage(seeds=seeds)), size)
    assert bound == pytest.approx(lost, abs=0.006)


def test_the_bound_is_how_often_shuffled_seeds_lose_a_clique():
    stages = (
        Stage(seeds=8),
        Stage(seeds=20, min_clique_size=3),
        Stage(seeds=30, min_clique_size=5),
    )
    planned = campaign(*stages, seeds=40, size=4)
    rng, rounds = np.random.default_rng(0), 20_000
    for size in (4, 8, 16):
        places = rng.permuted(np.tile(np.arange(40), (rounds, 1)), axis=1)[:, :size]
        shown = [(places < stage.seeds).sum(axis=1) for stage in stages]
        sizes = [stage.min_clique_size for stage in stages]
        kept = np.all([n >= least for n, least in zip(shown, sizes, strict=True)], axis=0)
        share = 1 - kept.mean()
        spread = np.sqrt(share * (1 - share) / rounds)
        assert loss_bound(planned, size) == pytest.approx(share, abs=5 * spread + 1e-4)


def test_larger_cliques_are_lost_less_and_one_size_is_sure():
    planned = campaign(*default_stages(500))
    bounds = [loss_bound(planned, size) for size in range(10, 501, 35)]
    assert all(a >= b for a, b in pairwise(bounds))
    sure = surely_found(planned)
    assert loss_bound(planned, sure) <= SURE_LOSS < loss_bound(planned, sure - 1)
    assert f"from {sure} of 500 on" in loss_words(planned)


def test_nothing_is_guaranteed_where_a_stage_is_stricter_than_the_flag():
    planned = campaign(Stage(seeds=16, edge_threshold=0.05), edge_threshold=0.1)
    assert (loss_bound(planned, 10), surely_found(planned)) == (None, None)
    assert loss_words(planned).startswith("Nothing is guaranteed")


def test_without_stages_nothing_is_lost():
    assert loss_bound(campaign(), 10) == 0.0
    assert loss_words(campaign()) == ""


def test_the_default_stages_are_those_that_leave_something_to_spare():
    assert [stage.seeds for stage in default_stages(500)] == [16, 64]
    assert [stage.seeds for stage in default_stages(64)] == [16]
    assert default_stages(20) == []
    assert list(parse("default").stages) == default_stages(500)
    assert list(parse("default", sampling={"seeds": 40}).stages) == default_stages(40)


def test_what_would_do_nothing_is_refused():
    with pytest.raises(
        ConfigError, match=r"c.toml: stages = \"default\" spares nothing of 20 seeds"
    ):
        parse("default", sampling={"seeds": 20})
    with pytest.raises(ConfigError, match="missed_sample does nothing without stages"):
        parse([], missed_sample=0.5)
    assert parse([], missed_sample=0.01) == parse([])


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{"seeds": 8}, {"seeds": 8}], "needs more seeds than the one before"),
        ([{"seeds": 500}], "sampling.seeds more than the last"),
        ([{"seeds": 4, "min_clique_size": 5}], "a clique of more pictures than it has"),
        ([{"seeds": 1}], "a stage needs two seeds at least"),
        (
            [{"screen": "one-step", "seeds": 1}],
            "with the screen one-step needs a bound, above, or a share",
        ),
        ([{"screen": "one-step", "above": 1, "seeds": 1, "steps": 2}], "one-step takes one step"),
        ([{"screen": "one-step", "above": 1, "seeds": 1, "edge_threshold": 0.1}], "no pictures"),
        (
            [{"screen": "one-step", "above": 1, "seeds": 900}],
            "a stage with a screen scores more seeds than sampling.seeds",
        ),
        ([{"above": 1, "seeds": 4}], "above, share and steps are for a stage with a screen"),
        (
            [{"seeds": 4}, {"screen": "one-step", "above": 1, "seeds": 1}],
            "stages with a screen come before those that make pictures",
        ),
        ([{"sees": 8}], "did you mean seeds?"),
        ([{}], "stages.0.seeds is missing"),
        ([{"seeds": 8, "edge_threshold": 0}], "stages.0.edge_threshold = 0"),
        (
            "defaults",
            'c.toml: stages is no list of tables; write each as [[stages]] or stages = "default".',
        ),
        ({"seeds": 8}, "write each as [[stages]]"),
        ([{"seeds": n} for n in range(2, 19)], "stages"),
    ],
)
def test_stages_that_make_no_sense_are_refused_in_one_sentence(stages, words):
    with pytest.raises(ConfigError) as caught:
        parse(stages)
    assert words in str(caught.value)


def test_a_campaign_that_keeps_flagged_pictures_alone_has_no_stages():
    with pytest.raises(ConfigError) as caught:
        parse([{"seeds": 8}], keep="flagged")
    assert str(caught.value) == 'c.toml: stages need keep = "all"; correct it.'
