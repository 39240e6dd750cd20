import numpy as np
import pytest

from seedsweep.audit.findings.limitations import least_rate, limit_words
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification


def chance(size, seeds, rate):
    """By counting simulated generations: how often `size` of `seeds` are the picture."""
    drawn = np.random.default_rng(0).binomial(seeds, rate, 200_000)
    return (drawn >= size).mean()


@pytest.mark.parametrize(("size", "seeds"), [(10, 500), (4, 32), (1, 1), (32, 32)])
def test_a_picture_that_comes_at_the_least_rate_is_found_with_95_percent(size, seeds):
    assert chance(size, seeds, least_rate(size, seeds)) == pytest.approx(0.95, abs=0.005)


def test_no_rate_is_enough_where_there_are_too_few_seeds():
    assert least_rate(10, 9) == 1


def test_the_papers_setting_misses_what_comes_at_two_percent_every_second_time():
    said = " ".join(limit_words(AnalysisSettings(analysis=Analysis()), 500))
    assert "10 of 500 generations" in said
    assert "rate of 2.00%" in said
    assert f"{least_rate(10, 500):.2%}" in said
    assert "Without a training set" in said


def test_with_a_training_set_its_threshold_is_named():
    settings = AnalysisSettings(
        analysis=Analysis(), verification=Verification(training_set="t", threshold=0.15)
    )
    assert "beyond l2 0.15" in " ".join(limit_words(settings, 500))


def test_a_report_says_whether_parts_were_looked_for():
    for partial, said in ((False, "Only whole pictures were looked for"), (True, "at the same")):
        settings = AnalysisSettings(analysis=Analysis(partial=partial))
        assert said in " ".join(limit_words(settings, 500))
