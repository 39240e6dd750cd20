"""What `verify` prints: for people and for scripts."""

import dataclasses
from collections.abc import Sequence

from rich.text import Text

from seedsweep.audit.findings.match_words import agreement_words, score_words
from seedsweep.audit.findings.verification_summary import control_rate, flagged_rate, summary
from seedsweep.cli.console import coloured, print_table, prompt_cell
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.options import explain
from seedsweep.storage.verification_results import (
    PartMatch,
    VerificationResult,
    VerifiedClique,
    VerifiedPart,
)

PROMPT_LENGTH = CAPTION_LENGTH = 40
NEAR_COPIES = "k: near-copies of the matched training picture, itself among them; they count once."


def print_verification(verification: VerificationResult) -> None:
    """Print a line for each clique of a flagged prompt, then what all of them came to."""
    table = FittedTable(
        *("prompt", "seed", "training picture", "its caption"),
        *("l2", "tiled l2", "adaptive", "agreement", "k", "extracted"),
        text=("prompt", "training picture", "its caption"),
        spared=(
            "its caption",
            "seed",
            "tiled l2",
            "k",
            "agreement",
            "adaptive",
            "l2",
            "training picture",
        ),
        notes={"k": NEAR_COPIES},
    )
    for clique in verification.cliques:
        table.add_row(*_cells(clique))
    if verification.cliques or not verification.parts:
        print_table(table)
    if verification.parts:
        print_table(_parts_table(verification.parts))
    for sentence in summary(verification):
        explain(sentence)


def _parts_table(parts: Sequence[VerifiedPart]) -> FittedTable:
    columns = ("prompt", "part", "training picture", "its caption", "l2", "k", "extracted")
    table = FittedTable(
        *columns,
        text=("prompt", "training picture", "its caption"),
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


def for_scripts(verification: VerificationResult) -> dict[str, object]:
    """All of it, and what follows from it: the headline's numbers, and rates with intervals."""
    controls = control_rate(verification)
    return {
        "training_pictures_extracted": sum(map(len, verification.groups)),
        "distinct_training_pictures_extracted": len(verification.groups),
        "prompts_extracted": len(verification.prompts_extracted),
        "prompts_extracted_partial": len(verification.prompts_extracted_partial),
        "flagged_rate": dataclasses.asdict(flagged_rate(verification)),
        "control_rate": dataclasses.asdict(controls) if controls else None,
        **verification.model_dump(mode="json"),
    }


def _cells(clique: VerifiedClique) -> list[str | Text]:
    match = clique.match
    return [
        prompt_cell(clique.prompt, PROMPT_LENGTH),
        str(clique.seed),
        match.training_id,
        prompt_cell(clique.caption or "", CAPTION_LENGTH),
        f"{match.l2:.3f}",
        f"{match.tiled_l2:.3f}",
        score_words(match.adaptive),
        agreement_words(match),
        str(clique.copies),
        coloured("yes", "red") if match.extracted else "no",
    ]
