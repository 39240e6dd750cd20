"""What a bundle says was counted, each count with its denominator."""

from collections.abc import Sequence

from seedsweep.audit.findings.counts import Counts
from seedsweep.storage.pieces import pieces_of
from seedsweep.storage.records import Parked, Submission

Denominators = dict[str, dict[str, int] | None]


def denominators(
    counts: Counts, submission: Submission, parked: Sequence[Parked], examined: bool
) -> Denominators:
    """Each count as `n` of so many, by what was counted; None for what was not `examined`, since
    the analysis compared nothing with training pictures.

    The bundle's checker counts anew, from the bundle's files and with code of its own: this code
    would not find its own mistakes.
    """
    planned = counts.prompts * submission.campaign.sampling.seeds
    pieces = pieces_of(submission.campaign, submission.cuts)
    units = counts.prompts * len(pieces)
    given_up = sum(
        len(unit.seeds) for unit in parked if pieces[unit.index % len(pieces)].kind == "generate"
    )
    left = counts.prompts - counts.analysed
    matched = extracted = pictures = None
    if examined:
        matched = _share(counts.matched, counts.flagged)
        extracted = _share(counts.extracted, counts.matched)
        pictures = _share(counts.training_pictures, counts.matched_pictures)
    by_stages = {}
    if submission.campaign.stages:
        share = _share(counts.dropped, counts.analysed)
        by_stages = {"prompts dropped by stages, of those analysed": share}
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
        "prompts without evidence, of those analysed": _share(
            counts.without_evidence, counts.analysed
        ),
        "prompts flagged, of those with evidence": _share(counts.flagged, counts.with_evidence),
        "prompts undecided, of those with evidence": _share(counts.undecided, counts.with_evidence),
        "prompts matched, of those flagged": matched,
        "prompts extracted, of those matched": extracted,
        "training pictures extracted, of those matched": pictures,
        **by_stages,
    }


def _share(n: int, of: int) -> dict[str, int]:
    return {"n": n, "of": of}
