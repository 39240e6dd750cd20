"""What a report says is not found of parts, by where they are looked for."""

import pytest

from seedsweep.audit.findings.limitations import limit_words
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, PartRule


@pytest.mark.parametrize(
    ("rule", "found", "missed"),
    [
        (PartRule(), "show it at one place, at", "shifted, scaled, mirrored and plain"),
        (PartRule(shift=0.08), "at most 8% of the picture's side apart, at", "; scaled, mirrored"),
        (PartRule(mirror=True), "at one place, mirrored or not, at", "shifted, scaled and plain"),
        (PartRule(shift=0.1, mirror=True), "apart, mirrored or not, at", "; scaled and plain"),
        (PartRule(scale=0.08), "at one place, at sizes that differ by 8%", "; shifted, mirrored"),
        (PartRule(shift=0.1, mirror=True, scale=0.1), "by 10% at most and", "; plain ones"),
    ],
)
def test_limits_are_those_of_the_search(rule, found, missed):
    settings = AnalysisSettings(analysis=Analysis(partial=True, parts=rule))
    [said] = [text for text in limit_words(settings, 500) if text.startswith("A part that")]
    assert found in said
    assert missed in said
