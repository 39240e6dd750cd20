"""What a re-analysis changes of the settings."""

import pytest

from seedsweep.scheduler.analysing.reanalysis import AnalysisOptions
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, PartRule

BEFORE = AnalysisSettings(analysis=Analysis(parts=PartRule(least=9)))


def test_parts_are_looked_for_anywhere_by_the_rule_that_was_there():
    asked = AnalysisOptions(partial=True, part_shift=0.08, part_mirror=True, part_scale=0.05)
    analysis = asked.apply(BEFORE).analysis
    assert analysis.partial
    assert analysis.parts == PartRule(least=9, shift=0.08, mirror=True, scale=0.05)
    assert AnalysisOptions(partial=True).apply(BEFORE).analysis.parts == PartRule(least=9)


@pytest.mark.parametrize(
    "options", [{"part_shift": 0.05}, {"part_mirror": True}, {"part_scale": 0.05}]
)
def test_parts_that_are_not_looked_for_are_nowhere(options):
    with pytest.raises(ConfigError, match="--part-shift, --part-mirror and --part-scale say where"):
        AnalysisOptions(**options).apply(BEFORE)


def test_a_part_may_not_move_further_than_a_tenth_of_the_side():
    with pytest.raises(ConfigError, match=r"shift = 0\.2 should be less than or equal to 0\.1"):
        AnalysisOptions(partial=True, part_shift=0.2).apply(BEFORE)
