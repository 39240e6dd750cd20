"""The tables that commands print."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from seedsweep.audit.findings.match_words import extraction_words, score_words
from seedsweep.audit.findings.present import Found
from seedsweep.audit.findings.rate_words import NOT_EXAMINED
from seedsweep.cli.console import print_table, prompt_cell
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.match_table import (
    CAPTION_LENGTH,
    FURTHER,
    PROMPT_LENGTH,
    TEXT,
    match_row,
    match_table,
)
from seedsweep.cli.options import explain, show
from seedsweep.cli.verification_table import part_verdict
from seedsweep.scheduler.campaign.integrity import Checkup
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.extractions import Extractions
from seedsweep.storage.prompt_results import Match, PromptResult
from seedsweep.storage.verification_results import PartMatch

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
        table = match_table(title, own)
        for result in flagged:
            for cells in _result_rows(result, found):
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
        return f"{found.counts.rated.flagged} of {found.counts.rated.prompts} prompts flagged"
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
    tried = count_words(found.counts.rated.prompts, "prompt")
    title = f"{found.counts.rated.partial} of {tried}: a part of the picture repeats"
    table = FittedTable(*_PART_COLUMNS, text=TEXT, spared=_PART_SPARED, title=title)
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


def _result_rows(result: PromptResult, found: Found) -> Iterator[list[str | Text]]:
    """One for each clique: of a prompt that repeats several pictures there are more."""
    proven = "" if result.clique_proven else f" (≤ {result.clique_upper_bound})"
    text, size = result.prompt or NO_PROMPT, f"{result.clique_size}{proven}"
    known = _known(result.match, found)
    yield match_row(text, size, result.match, *known, result.mean_distance, result.seeds)
    for clique in result.further_cliques:
        known, size = _known(clique.match, found), str(clique.clique_size)
        yield match_row(FURTHER, size, clique.match, *known, clique.mean_distance)


def _known(match: Match | None, found: Found) -> tuple[str, int | None]:
    """Caption and near-copies of the matched picture, as far as a search told them."""
    if match is None:
        return "", None
    return found.captions.get(match.training_id, ""), found.copies.get(match.training_id)
