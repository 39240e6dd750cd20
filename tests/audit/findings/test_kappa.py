"""Cohen's kappa against every pair of items."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.audit.findings.kappa import cohen_kappa

LABELS = ("same", "different", "unsure")


def slow_kappa(a, b):
    """Cohen 1960, from every pair of items: how often two labels agree, item by item and at all."""
    agreed = sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    chance = sum(x == y for x, y in product(a, b)) / len(a) ** 2
    return (agreed - chance) / (1 - chance) if chance < 1 else None


class TestKappa:
    @settings(max_examples=8, deadline=None)
    @given(st.lists(st.tuples(*[st.sampled_from(LABELS)] * 2), min_size=1, max_size=8))
    def test_it_is_the_agreement_beyond_chance_whichever_comes_first(self, pairs):
        a, b = zip(*pairs, strict=True)
        found, expected = cohen_kappa(a, b, LABELS), slow_kappa(a, b)
        if expected is None:
            assert found.value is None
            assert "undefined" in str(found)
            return
        assert found.value == pytest.approx(expected)
        assert cohen_kappa(b, a, LABELS).value == pytest.approx(expected)
        assert (found.low, found.high) == (None, None)

    def test_the_interval_covers_and_its_method_is_named(self):
        a = ["same"] * 30 + ["different"] * 10
        found = cohen_kappa(a, [*a[4:], *a[:4]], LABELS)
        assert found.low < found.value < found.high
        assert "percentile bootstrap" in found.method

    def test_few_items_have_a_kappa_and_no_interval(self):
        assert str(cohen_kappa([], [], LABELS)).startswith("not shown (n = 0")
        a = ["same", "different", "same"]
        assert str(cohen_kappa(a, a, LABELS)).startswith("1.00, no interval (3 in common")

    @pytest.mark.parametrize("second", ["different", "same"])
    def test_items_that_show_no_spread_have_no_interval(self, second):
        a, b = ["same"] * 39 + ["different"], ["same"] * 39 + [second]
        assert "no interval (resampling shows no spread)" in str(cohen_kappa(a, b, LABELS))
