"""What a bundle says was counted, each count with its denominator."""

from collections.abc import Sequence

from seedsweep.audit.findings.counts import Counts
from seedsweep.storage.extractions import Extractions
from seedsweep.storage.pieces import pieces_of
from seedsweep.storage.prompt_results import PromptResult
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


def all_generations_counted(
    results: Sequence[PromptResult],
    submission: Submission,
    parked: Sequence[Parked],
    found: Extractions | None,
) -> Denominators:
    """As `denominators`, of a campaign without prompts: its generations are counted, and what they
    extract; None for what was not compared with training pictures."""
    planned = submission.campaign.sampling.seeds
    made = sum(result.seeds for result in results)
    usable = sum(result.usable for result in results)
    repeated = sum(len(c.clique_seeds) for result in results for c in result.cliques)
    compared = extracted = pictures = None
    if found:
        compared = _share(found.searched, usable)
        extracted = _share(found.extracted, found.searched)
        pictures = _share(len(found.pictures), found.coverage.pictures)
    return {
        "generations analysed, of those planned": _share(made, planned),
        "generations excluded as no evidence, of those analysed": _share(made - usable, made),
        "generations of parked units, of those planned": _share(
            sum(len(unit.seeds) for unit in parked), planned
        ),
        "parked units, of all units": _share(len(parked), len(submission.cuts)),
        "generations in cliques, of those usable": _share(repeated, usable),
        "generations compared with the training set, of those usable": compared,
        "generations extracted, of those compared": extracted,
        "distinct training pictures extracted, of all in the set": pictures,
    }


def _share(n: int, of: int) -> dict[str, int]:
    return {"n": n, "of": of}
