"""What `verify` prints: for people and for scripts."""

import dataclasses
from collections.abc import Mapping, Sequence

from rich.text import Text

from seedsweep.audit.findings.same_prompts import ALL_DIFFER
from seedsweep.audit.findings.verification_summary import (
    control_rate,
    flagged_rate,
    same_flagged,
    summary,
)
from seedsweep.cli.console import coloured, print_table, prompt_cell
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.match_table import (
    CAPTION_LENGTH,
    FURTHER,
    PROMPT_LENGTH,
    TEXT,
    match_row,
    match_table,
)
from seedsweep.cli.options import explain
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.verification_results import (
    PartMatch,
    VerificationResult,
    VerifiedClique,
    VerifiedPart,
)


def print_verification(
    verification: VerificationResult,
    results: Sequence[PromptResult] = (),
    first: Mapping[str, str] = ALL_DIFFER,
) -> None:
    """Print a line for each clique of a flagged prompt, then what all of them came to. `results`:
    those that were searched for, as far as they are known; `first`: as of `first_ones`."""
    table, known, before = match_table(), {each.prompt_id: each for each in results}, ""
    for clique in verification.cliques:
        prompt = FURTHER if clique.prompt_id == before else clique.prompt
        before = clique.prompt_id
        table.add_row(*_cells(clique, prompt, known.get(clique.prompt_id)))
    if verification.cliques or not verification.parts:
        print_table(table)
    if verification.parts:
        print_table(_parts_table(verification.parts))
    for sentence in summary(verification, first=first):
        explain(sentence)


def _parts_table(parts: Sequence[VerifiedPart]) -> FittedTable:
    columns = ("prompt", "part", "training picture", "its caption", "l2", "k", "extracted")
    table = FittedTable(
        *columns,
        text=TEXT,
        spared=("its caption", "k", "l2", "training picture"),
        title="Parts of the picture",
        notes={"k": "k: training pictures that show the part."},
    )
    for part in sorted(parts, key=lambda each: (-each.share, each.prompt_id, each.part_id)):
        match = part.match
        table.add_row(
            prompt_cell(part.prompt, PROMPT_LENGTH),
            f"{100 * part.share:.0f} %",
            match.training_id,
            prompt_cell(match.caption or "", CAPTION_LENGTH),
            f"{match.l2:.3f}",
            str(match.copies),
            part_verdict(match),
        )
    return table


def part_verdict(match: PartMatch) -> str | Text:
    """Whether a part is extracted, in a word."""
    if match.extracted:
        return coloured("yes", "red")
    return "common" if match.is_common else "no"


def for_scripts(
    verification: VerificationResult, first: Mapping[str, str] = ALL_DIFFER
) -> dict[str, object]:
    """All of it, and what follows from it: the headline's numbers, and rates with intervals."""
    controls = control_rate(verification)
    return {
        "training_pictures_extracted": sum(map(len, verification.groups)),
        "distinct_training_pictures_extracted": len(verification.groups),
        "prompts_extracted": len(verification.prompts_extracted),
        "prompts_extracted_partial": len(verification.prompts_extracted_partial),
        "flagged_rate": dataclasses.asdict(flagged_rate(verification, first)),
        "flagged_same": same_flagged(verification, first),
        "control_rate": dataclasses.asdict(controls) if controls else None,
        **verification.model_dump(mode="json"),
    }


def _cells(clique: VerifiedClique, prompt: str, result: PromptResult | None) -> list[str | Text]:
    repeats = {each.representative_seed: each for each in result.cliques} if result else {}
    own = repeats.get(clique.seed)
    return match_row(
        prompt,
        str(own.clique_size) if own else "",
        clique.match,
        clique.caption or "",
        clique.copies,
        own.mean_distance if own else None,
        result.seeds if result and prompt != FURTHER else None,
    )
