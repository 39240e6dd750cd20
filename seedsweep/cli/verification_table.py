"""What `verify` prints: for people and for scripts."""

import dataclasses

from rich.text import Text

from seedsweep.audit.findings.match_words import agreement_words, score_words
from seedsweep.audit.findings.verification_summary import control_rate, flagged_rate, summary
from seedsweep.cli.console import coloured, print_table, prompt_cell
from seedsweep.cli.fitted_table import FittedTable
from seedsweep.cli.options import explain
from seedsweep.storage.verification_results import VerificationResult, VerifiedClique

PROMPT_LENGTH = CAPTION_LENGTH = 40
NEAR_COPIES = "k: near-copies of the matched training picture, itself among them; they count once."


def print_verification(verification: VerificationResult) -> None:
    """Print a line for each clique of a flagged prompt, then what all of them came to."""
    table = FittedTable(
        *("prompt", "seed", "training picture", "its caption"),
        *("l2", "tiled l2", "adaptive", "alike", "k", "extracted"),
        text=("prompt", "training picture", "its caption"),
        spared=(
            "its caption",
            "seed",
            "tiled l2",
            "k",
            "alike",
            "adaptive",
            "l2",
            "training picture",
        ),
        notes={"k": NEAR_COPIES},
    )
    for clique in verification.cliques:
        table.add_row(*_cells(clique))
    print_table(table)
    for sentence in summary(verification):
        explain(sentence)


def for_scripts(verification: VerificationResult) -> dict[str, object]:
    """All of it, and what follows from it: the headline's numbers, and rates with intervals."""
    controls = control_rate(verification)
    return {
        "training_pictures_extracted": sum(map(len, verification.groups)),
        "distinct_training_pictures_extracted": len(verification.groups),
        "prompts_extracted": len(verification.prompts_extracted),
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
