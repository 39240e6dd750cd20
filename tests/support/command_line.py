"""The campaign that tests of the command line run, and what they expect of a refusal."""

from tests.support.campaigns import campaign_text, small_sampling

CAMPAIGN = campaign_text(
    sampling=small_sampling(4, 8, images_per_unit=2), analysis={"min_clique_size": 2}
)


def refused(finished, *words):
    """Exit code 2, nothing on stdout, and one sentence without a traceback on stderr."""
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in finished.stderr
    return True
