"""The tables that commands print."""

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from seedsweep.audit.findings.match_words import extraction_words, score_words
from seedsweep.audit.findings.present import Found
from seedsweep.audit.findings.rate_words import NOT_EXAMINED
from seedsweep.cli.console import coloured, print_table, prompt_cell
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.options import explain, show
from seedsweep.cli.verification_table import part_verdict
from seedsweep.scheduler.campaign.integrity import Checkup
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.extractions import Extractions
from seedsweep.storage.prompt_results import Match, PromptResult
from seedsweep.storage.verification_results import PartMatch

PROMPT_LENGTH = 48
CAPTION_LENGTH = 32
MADE_WITH = "made with"
NO_PROMPT = "(no prompt)"


def print_checkup(checkup: Checkup) -> None:
    """Print what a check found: each corrupt shard and each lost one with its unit, and each wrong
    decision with its prompts."""
    for fault in checkup.corrupt:
        explain(f"Unit {fault.index}: {fault.key} is corrupt: {fault.reason}")
    for index in checkup.holes:
        explain(f"Unit {index}: counted as done, but its shard is not in the store.")
    for wrong in checkup.decisions:
        prompts = f"prompts {wrong.first + 1:,} to {wrong.last + 1:,}"
        explain(f"Stage {wrong.stage}, {prompts}: {wrong.reason}")
    explain(
        f"{checkup.stored} of {count_words(checkup.units, 'unit')} stored, "
        f"{count_words(checkup.images, 'image')} with the right hash; units with a receipt alone: "
        f"{checkup.receipted}, corrupt: {len(checkup.corrupt)}, lost: {len(checkup.holes)}, not "
        f"made yet: {checkup.missing}, parked: {checkup.parked}."
    )
    if checkup.images_shared:
        were = "was" if checkup.images_shared == 1 else "were"
        explain(
            f"{count_words(checkup.images_shared, 'image')} {were} not made again: taken over from "
            "another prompt that is the same to the model."
        )


def print_results(found: Found) -> None:
    """Print flagged prompts as a table, best first, and what the rest came to."""
    flagged = [result for result in found.results if result.flagged]
    title = _title(found, flagged)
    if flagged:
        own = [MADE_WITH] if any(result.settings for result in flagged) else []
        table = FittedTable(
            *_COLUMNS, *own, text={*_TEXT, *own}, spared=(*own, *_SPARED), title=title
        )
        for result in flagged:
            for cells in _result_rows(result, found.captions):
                table.add_row(
                    *cells, *(prompt_cell(str(result.settings or ""), PROMPT_LENGTH) for _ in own)
                )
        print_table(table)
    else:
        show(f"{title}.")
    if any(result.flagged_partial for result in found.results):
        print_table(_parts_table(found))
    if found.extractions:
        _print_extractions(found.extractions)
    if left := found.counts.prompts - found.counts.analysed:
        explain(f"Not finished: {left:,} of {found.counts.prompts:,} prompts are not analysed yet.")
    for note in found.notes:
        explain(note)


def _title(found: Found, flagged: Sequence[PromptResult]) -> str:
    """How much of what was tried repeats."""
    if [result.prompt for result in found.results] != [""]:
        return f"{len(flagged)} of {found.counts.with_evidence} prompts flagged"
    repeated = count_words(sum(len(result.cliques) for result in flagged), "picture")
    generations = count_words(found.results[0].usable, "generation")
    return f"{repeated} repeated among {generations}"


def _print_extractions(found: Extractions) -> None:
    """The distinct training pictures that generations extract, best first."""
    title = extraction_words(found)
    if not found.pictures:
        show(title)
        return
    table = FittedTable(
        *_PICTURE_COLUMNS, text={"training picture"}, spared=_PICTURE_SPARED, title=title
    )
    for picture in found.pictures[:PICTURES_SHOWN]:
        table.add_row(
            picture.training_id,
            f"{picture.generations:,}",
            f"{picture.copies:,}",
            str(picture.best_seed),
            f"{picture.l2:.3f}",
            score_words(picture.adaptive),
        )
    print_table(table)
    if len(found.pictures) > PICTURES_SHOWN:
        explain(f"These are the first {PICTURES_SHOWN}; --json has all.")


def _parts_table(found: Found) -> FittedTable:
    """The parts that prompts repeat, the largest first."""
    results = found.results
    parts = [
        (result, memory)
        for result in results
        for memory in found.memories_of(result)
        if memory.kind != "whole"
    ]
    count = sum(result.flagged_partial for result in results)
    title = f"{count} of {count_words(len(results), 'prompt')}: a part of the picture repeats"
    table = FittedTable(*_PART_COLUMNS, text=_TEXT, spared=_PART_SPARED, title=title)
    for result, memory in sorted(parts, key=lambda each: (-each[1].share, each[0].prompt_id)):
        unproven = "" if result.parts_proven else " or more"
        table.add_row(
            prompt_cell(result.prompt, PROMPT_LENGTH),
            f"{100 * memory.share:.0f} %{unproven}",
            str(len(memory.seeds)),
            str(result.seeds),
            *_part_cells(memory.match),
        )
    return table


def _part_cells(match: Match | PartMatch | None) -> list[str | Text]:
    if not isinstance(match, PartMatch):
        return ["", "", "", NOT_EXAMINED]
    caption = prompt_cell(match.caption or "", CAPTION_LENGTH)
    return [match.training_id, caption, str(match.copies), part_verdict(match)]


PICTURES_SHOWN = 50
_PICTURE_COLUMNS = ("training picture", "generations", "k", "best seed", "l2", "adaptive")
_PICTURE_SPARED = ("l2", "adaptive", "best seed")
_PART_COLUMNS = ("prompt", "part", "shown by", "seeds", "training picture", "its caption", "k",
                 "extracted")  # fmt: skip
_PART_SPARED = ("its caption", "seeds", "k", "training picture")
_TEXT = {"prompt", "training picture", "its caption"}
_COLUMNS = ("prompt", "clique", "seeds", "mean distance", "training picture", "its caption", "l2",
            "adaptive", "extracted")  # fmt: skip
_SPARED = ("its caption", "seeds", "mean distance", "adaptive", "l2", "clique", "training picture")
FURTHER = "  another picture"


def _result_rows(result: PromptResult, captions: Mapping[str, str]) -> Iterator[list[str | Text]]:
    """One for each clique: of a prompt that repeats several pictures there are more."""
    proven = "" if result.clique_proven else f" (≤ {result.clique_upper_bound})"
    text = prompt_cell(result.prompt or NO_PROMPT, PROMPT_LENGTH)
    distance = "" if result.mean_distance is None else f"{result.mean_distance:.3f}"
    size = f"{result.clique_size}{proven}"
    yield [text, size, str(result.seeds), distance, *_match_cells(result.match, captions)]
    for clique in result.further_cliques:
        distance = f"{clique.mean_distance:.3f}"
        yield [
            FURTHER,
            f"{clique.clique_size}",
            "",
            distance,
            *_match_cells(clique.match, captions),
        ]


def _match_cells(match: Match | None, captions: Mapping[str, str]) -> list[str | Text]:
    if match is None:
        return ["", "", "", "", NOT_EXAMINED]
    extracted = coloured("yes", "red") if match.extracted else "no"
    caption = prompt_cell(captions.get(match.training_id, ""), CAPTION_LENGTH)
    score = score_words(match.adaptive)
    return [match.training_id, caption, f"{match.l2:.3f}", score, extracted]
