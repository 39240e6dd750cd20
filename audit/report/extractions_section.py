"""What the report shows of a campaign without prompts: which training pictures it extracts."""

from collections.abc import Sequence
from dataclasses import dataclass

from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.match_words import extraction_words
from seedsweep.audit.findings.matched_pictures import read_named
from seedsweep.audit.findings.present import extractions_of
from seedsweep.audit.report.prompt_section import Picture, PromptImages, draw_picture
from seedsweep.storage.extractions import ExtractedPicture, Extractions
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.store import Store

PICTURES_SHOWN = 200
"""So many of the training pictures are in the report, the best ones."""

_SIDE = 192


@dataclass(frozen=True, slots=True)
class ExtractedShown:
    """A training picture that generations extract, and how it and the best of them look."""

    found: ExtractedPicture
    generation: Picture
    training: Picture


@dataclass(frozen=True, slots=True)
class ExtractionsShown:
    """What the generations extract: in words, the share of them that do, and pictures. `problem`
    says why training pictures are not shown, empty if they are."""

    found: Extractions
    words: str
    share: Rate
    pictures: tuple[ExtractedShown, ...]
    problem: str


def gather_extractions(
    store: Store,
    submission: Submission,
    settings: AnalysisSettings,
    results: Sequence[PromptResult],
) -> ExtractionsShown | None:
    """None if the campaign has prompts, or nothing was compared. Raises `ShardCorruptError` for
    extractions that are not what was written, `StoreUnavailableError` if the store fails."""
    campaign = submission.campaign
    found = extractions_of(store, campaign, settings, results)
    if found is None:
        return None
    shown = found.pictures[:PICTURES_SHOWN]
    ids = {each.training_id for each in shown}
    training = read_named(settings.verification, campaign.sampling, ids)
    images = PromptImages.of(store, submission, results[0])
    drawn = []
    for each in shown:
        picture = training.pictures.get(each.training_id)
        if picture is not None and each.flip:
            picture = picture[:, ::-1].copy()
        generation = draw_picture(f"seed {each.best_seed}", images.pixels(each.best_seed), _SIDE)
        drawn.append(
            ExtractedShown(each, generation, draw_picture(each.training_id, picture, _SIDE))
        )
    share = rate(found.extracted, found.searched)
    return ExtractionsShown(found, extraction_words(found), share, tuple(drawn), training.problem)
