"""Policies replayed on stored pictures: what each says of a prompt, and what it costs."""

import tomllib
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.funnel_pictures import Pictures, write_campaigns
from benchmarks.funnel_replay import cost, first_pair, reached
from seedsweep.scheduler.campaign.file import parse_campaign

DEFAULT = ((16, 2), (64, 3))


def pictures(count, alike):
    """So many pictures, of which these are one."""
    edges = np.zeros((count, count), bool)
    for first, second in combinations(alike, 2):
        edges[first, second] = edges[second, first] = True
    return Pictures("a prompt", edges)


@pytest.mark.parametrize(
    ("count", "alike", "told"),
    [
        (16, (), [False, None]),
        (16, (3, 15), [True, None]),
        (32, (3, 9, 30), [True, True]),
        (32, (3, 9), [True, None]),
        (64, (3, 9), [True, False]),
        (64, (3, 40, 50), [False, True]),
    ],
)
def test_a_stage_is_decided_by_its_first_pictures_or_not_at_all(count, alike, told):
    made = pictures(count, alike)
    assert [made.passes(*stage) for stage in DEFAULT] == told
    for lacking in (False, True):
        passed = reached(DEFAULT, made, lacking)
        assert passed[0] == told[0]
        assert passed[1] == (told[0] and (lacking if told[1] is None else told[1]))


def test_costs_are_in_places_of_full_batches():
    assert cost((), [], 500) == 512
    assert cost(DEFAULT, [0, 0], 500) == 16
    assert cost(DEFAULT, [1, 0], 500) == 16 + 48
    assert cost(DEFAULT, [0.5, 0.25], 500) == 16 + 24 + 0.25 * 448
    assert cost(((4, 2),), [0], 500) == 16


@given(st.integers(2, 12), st.integers(0, 999))
def test_the_first_pair_is_where_the_first_two_that_are_alike_have_both_come(count, seed):
    rng = np.random.default_rng(seed)
    edges = np.triu(rng.random((count, count)) < 0.1, 1)
    edges |= edges.T
    order = rng.permutation(count)
    slow = [n for n in range(1, count + 1) if edges[np.ix_(order[:n], order[:n])].any()] or [
        count + 1
    ]
    assert first_pair(edges, order) == slow[0]


def test_the_campaign_files_are_what_seedsweep_reads(tmp_path):
    write_campaigns(tmp_path, {})
    assert sorted(path.name for path in tmp_path.glob("*.toml")) == ["first.toml", "rare.toml"]
    rare, first = (
        parse_campaign(tomllib.loads((tmp_path / name).read_text()), tmp_path / name)
        for name in ("rare.toml", "first.toml")
    )
    assert rare.sampling.seeds == 500
    (stage,) = first.stages
    assert (stage.seeds, stage.min_clique_size) == (16, 2)
