"""What a campaign with stages can tell, and what takes all pictures of every prompt."""

import pytest

from seedsweep.audit.findings.comparability import refuse_stages
from seedsweep.audit.findings.counts import count_results, has_evidence
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.prompt_results import Drop
from seedsweep.storage.settings.sampling import Stage
from tests.support.campaigns import make_campaign, make_submission
from tests.support.results import make_flagged, make_result

DROPPED = Drop(stage=1, near=False, sampled=False)
SAMPLED = Drop(stage=1, near=True, sampled=True)


def test_a_dropped_prompt_counts_as_not_flagged_if_it_had_a_pair_to_show():
    results = [
        make_result(prompt="dropped", seeds=4, drop=DROPPED),
        make_result(prompt="dropped, black", seeds=4, excluded=3, drop=DROPPED),
        make_result(prompt="sampled", seeds=9, drop=SAMPLED),
        make_result(prompt="given up", seeds=4),
        make_flagged(prompt="flagged", seeds=9),
    ]
    assert [has_evidence(result, 5) for result in results] == [True, False, True, False, True]
    counts = count_results(results, 5, 9, 5)
    assert (counts.dropped, counts.fewer_seeds, counts.without_evidence) == (2, 1, 2)
    assert (counts.flagged, counts.with_evidence) == (1, 3)


def test_what_needs_all_pictures_refuses_a_campaign_with_stages():
    staged = make_submission(make_campaign(stages=(Stage(seeds=3),)))
    with pytest.raises(ConfigError, match="a comparison needs all; submit it without"):
        refuse_stages(staged, "a comparison")
    refuse_stages(make_submission(make_campaign()), "a comparison")
