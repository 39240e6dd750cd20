"""What the report shows of a campaign without prompts: which training pictures it extracts."""

from collections.abc import Sequence
from dataclasses import dataclass

from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.match_words import extraction_words
from seedsweep.audit.findings.matched_pictures import read_named
from seedsweep.audit.findings.people import Reviewer, extraction_item, said_words
from seedsweep.audit.report.prompt_section import Picture, PromptImages, draw_picture
from seedsweep.storage.extractions import ExtractedPicture, Extractions
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.store import Store
from seedsweep.workers.images import digest_pixels

PICTURES_SHOWN = 200
"""So many of the training pictures are in the report, the best ones."""

_SIDE = 192


@dataclass(frozen=True, slots=True)
class ExtractedShown:
    """A training picture that generations extract, how it and the best of them look, and what
    people said of the two; empty if nobody looked."""

    found: ExtractedPicture
    generation: Picture
    training: Picture
    said: str


@dataclass(frozen=True, slots=True)
class ExtractionsShown:
    """What the generations extract: in words, the share of them that do, and pictures. `problem`
    says why training pictures are not shown, empty if they are. `confirmed`: so many of the
    `pictures` are."""

    found: Extractions
    words: str
    share: Rate
    pictures: tuple[ExtractedShown, ...]
    problem: str
    confirmed: int


def gather_extractions(
    store: Store,
    submission: Submission,
    settings: AnalysisSettings,
    results: Sequence[PromptResult],
    found: Extractions,
    reviewers: Sequence[Reviewer],
) -> ExtractionsShown:
    """What is shown of what was `found` of these results, with what reviewers said. Raises
    `ConfigError` for labels of other pictures, `StoreUnavailableError` if the store fails."""
    shown = found.pictures[:PICTURES_SHOWN]
    ids = {each.training_id for each in shown}
    training = read_named(settings.verification, submission.campaign.sampling, ids)
    images = PromptImages.of(store, submission, results[0])
    drawn = []
    for each in shown:
        picture = training.pictures.get(each.training_id)
        made = images.pixels(each.best_seed)
        labelled = ["" if pixels is None else digest_pixels(pixels) for pixels in (made, picture)]
        item = extraction_item(each.training_id)
        said = said_words(reviewers, item, (labelled[0], labelled[1]))
        if picture is not None and each.flip:
            picture = picture[:, ::-1].copy()
        generation = draw_picture(f"seed {each.best_seed}", made, _SIDE)
        trained = draw_picture(each.training_id, picture, _SIDE)
        drawn.append(ExtractedShown(each, generation, trained, said))
    share = rate(found.extracted, found.searched)
    return ExtractionsShown(
        found=found,
        words=extraction_words(found),
        share=share,
        pictures=tuple(drawn),
        problem=training.problem,
        confirmed=sum(each.said.startswith("confirmed") for each in drawn),
    )
