"""What the full attack says of controls, and how far the cost depends on what nobody saw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.funnel_curve import DEFAULT, kept
from benchmarks.funnel_pictures import Pictures
from benchmarks.funnel_verdicts import (
    MARK_COST,
    Verdict,
    clean_cost,
    cost_bound,
    dropped_beside,
    keeping_of,
    most_left_out,
    print_verdicts,
    verdicts_of,
)
from seedsweep.audit.findings.intervals import rate


def pictures(prompt, count, alike):
    """So many pictures, the first of which are one."""
    edges = np.zeros((count, count), bool)
    edges[:alike, :alike] = ~np.eye(alike, dtype=bool)
    return Pictures(prompt, edges)


CLEAN = [
    pictures("flagged", 64, 30),
    pictures("told by all", 80, 10),
    pictures("not flagged", 80, 9),
    pictures("too few", 64, 9),
    pictures("dropped", 16, 1),
    pictures("dropped later", 64, 2),
]


def test_the_attack_flags_by_ten_alike_and_acquits_by_all_pictures_alone():
    verdicts = {each.prompt: each.is_flagged for each in verdicts_of(CLEAN, attack=80)}
    assert verdicts == {"flagged": True, "told by all": True, "not flagged": False, "too few": None}
    sizes = {each.prompt: each.size for each in verdicts_of(CLEAN, attack=80)}
    assert sizes == {"flagged": 30, "told by all": 10, "not flagged": 9, "too few": 9}


def test_pictures_beyond_the_attack_are_not_looked_at():
    (verdict,) = verdicts_of([pictures("many", 100, 90)], attack=80)
    assert (verdict.stored, verdict.size) == (80, 80)


def test_how_often_a_prompt_goes_on_is_told_by_its_pictures_in_any_order():
    for alike in (10, 30):
        whole = pictures("all", 200, alike)
        assert keeping_of(whole, alike, 200) == pytest.approx(kept(DEFAULT, alike, 200), abs=0.03)
        few = pictures("few", 100, alike)
        assert keeping_of(few, alike, 200) == kept(DEFAULT, 2 * alike, 200)
    without_a_clique = np.zeros((200, 200), bool)
    without_a_clique[:100, 100:] = without_a_clique[100:, :100] = True
    assert keeping_of(Pictures("pairs", without_a_clique), 2, 200) < 0.001


def test_a_clean_prompt_costs_what_its_stages_take():
    of_clean, at_most = clean_cost(DEFAULT, [80, 40], 800, 500)
    assert of_clean == pytest.approx(16 + 0.1 * 48 + 0.05 * 448)
    bounds = [rate(count, 800, 0.975, "upper").high for count in (80, 40)]
    assert at_most == pytest.approx(16 + bounds[0] * 48 + bounds[1] * 448)
    assert cost_bound([80, 40], 800, 500) == pytest.approx(0.01 + 0.99 * at_most / 512)
    assert clean_cost((), [], 800, 500) == (512, 512)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 200))
def test_the_bound_holds_for_all_that_may_be_left_out_and_for_no_more(first, more, rest):
    counts, n = [first + more, first], first + more + rest + 1
    most = most_left_out(counts, n, 500)
    if most is None:
        assert cost_bound(counts, n, 500) > MARK_COST
        return
    assert cost_bound(counts, n - most, 500) <= MARK_COST
    assert most == n - max(1, *counts) or cost_bound(counts, n - most - 1, 500) > MARK_COST


def test_those_that_go_on_tell_how_many_were_dropped():
    """Simulated: prompts of known cliques, each of which goes on as probably as it does."""
    rng = np.random.default_rng(0)
    sizes = np.repeat([12, 25, 60, 400], [400, 200, 100, 50])
    chances = np.array([kept(DEFAULT, int(size), 500) for size in sizes])
    expected, bounds, dropped = [], [], []
    for _ in range(200):
        goes_on = rng.random(len(sizes)) < chances
        verdicts = [Verdict("", 500, 10, 500, keeping) for keeping in chances[goes_on]]
        told, bound = dropped_beside(verdicts)
        expected.append(told)
        bounds.append(bound)
        dropped.append((~goes_on).sum())
    assert np.mean(expected) == pytest.approx(np.mean(dropped), rel=0.05)
    assert np.mean(np.array(bounds) >= dropped) > 0.9


def test_verdicts_are_told_with_what_they_leave_open(capsys):
    print_verdicts(verdicts_of(CLEAN, attack=80), CLEAN, attack=80)
    said = capsys.readouterr().out
    assert "of the 4 clean prompts that go on, of 6" in said
    assert "| not flagged | 80 | 9/80 = 0.11 [0.05, 0.20] | does not flag it |" in said
    assert "It flags 2: 1 repeat one picture at more than 20%, 1 at less (2 may" in said
    assert "does not flag 1, and of 1 there are too few pictures" in said
    assert "3 and 2 of 4 pass the stages" in said
    assert "for none of the 2 that the stages drop" in said
    assert "nan" not in said
