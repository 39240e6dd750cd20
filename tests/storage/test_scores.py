import pytest

from seedsweep.storage.scores import Scored


@pytest.mark.parametrize("scores", [(0.1,) * 10, (1e16, 1.0, -1e16)])
def test_a_score_is_the_same_number_whatever_python_computes_it(scores):
    """`sum` rounds once from Python 3.12 on, as `fsum` does, and after each number before."""
    total = 0.0
    for score in scores:
        total += score
    assert Scored(scores, "cpu", 1, "").score == total / len(scores)
