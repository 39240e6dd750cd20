"""What a bundle says was counted, each count with its denominator."""

from collections.abc import Sequence

from seedsweep.audit.findings.counts import Counts
from seedsweep.storage.records import Parked, Submission


def denominators(
    counts: Counts, submission: Submission, parked: Sequence[Parked]
) -> dict[str, dict[str, int]]:
    """Each count as `n` of so many, by what was counted.

    The bundle's verifier counts anew, from the bundle's files and with code of its own: that of
    this side would not find its own mistakes.
    """
    planned = counts.prompts * submission.campaign.sampling.seeds
    units = counts.prompts * len(submission.cuts)
    given_up = sum(len(unit.seeds) for unit in parked)
    left = counts.prompts - counts.analysed
    return {
        "prompts analysed, of those submitted": _share(counts.analysed, counts.prompts),
        "prompts not judged, of those submitted": _share(left, counts.prompts),
        "prompts analysed with fewer seeds, of those analysed": _share(
            counts.fewer_seeds, counts.analysed
        ),
        "images analysed, of those planned": _share(counts.images, planned),
        "images excluded as no evidence, of those analysed": _share(counts.excluded, counts.images),
        "images of parked units, of those planned": _share(given_up, planned),
        "parked units, of all units": _share(len(parked), units),
        "prompts flagged, of those analysed": _share(counts.flagged, counts.analysed),
        "prompts undecided, of those analysed": _share(counts.undecided, counts.analysed),
        "prompts matched, of those flagged": _share(counts.matched, counts.flagged),
        "prompts extracted, of those matched": _share(counts.extracted, counts.matched),
        "training pictures extracted, of those matched": _share(
            counts.training_pictures, counts.matched_pictures
        ),
    }


def _share(n: int, of: int) -> dict[str, int]:
    return {"n": n, "of": of}
