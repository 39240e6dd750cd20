"""What `calibrate` prints: for people and for scripts."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seedsweep.audit.findings.calibration import Calibration


def for_scripts(calibration: "Calibration") -> dict[str, object]:
    """The calibration for scripts: all but the single scores."""
    import dataclasses

    from seedsweep.audit.findings.calibration import Candidate

    def candidate(each: Candidate) -> dict[str, object]:
        point = dataclasses.asdict(each.point)
        curve = dataclasses.asdict(each.curve) if each.curve else None
        return {"min_clique_size": each.min_clique_size, **point, "curve": curve}

    chosen, verification = calibration.chosen, calibration.verification
    return {
        "campaign_id": calibration.campaign_id,
        "analysis_id": calibration.analysis_id,
        "written_at": calibration.written_at,
        "tiles": calibration.tiles,
        "seeds": calibration.seeds,
        "controls": calibration.controls,
        "positives": calibration.positives,
        "groups": calibration.groups,
        "false_positive_rate": calibration.wish.false_positive_rate,
        "base_rate": calibration.wish.base_rate,
        "edge_threshold": chosen.point.threshold,
        "min_clique_size": chosen.min_clique_size,
        "candidates": [candidate(each) for each in calibration.candidates],
        "verification": dataclasses.asdict(verification) if verification else None,
        "parts": _parts(calibration),
        "warnings": list(calibration.warnings),
    }


def _parts(calibration: "Calibration") -> dict[str, object] | None:
    """All but the single scores; None if nobody asked."""
    import dataclasses

    parts = calibration.parts
    if parts is None:
        return None
    return {
        "grid": parts.grid,
        "least": parts.least,
        "false_positives": dataclasses.asdict(parts.false_positives),
        "shown": parts.shown,
        "recall": dataclasses.asdict(parts.recall),
    }


def print_calibration(calibration: "Calibration") -> None:
    from seedsweep.audit.findings.rate_words import NOT_EXAMINED, percent_words, share_words
    from seedsweep.cli.console import print_table
    from seedsweep.cli.fitted_table import FittedTable
    from seedsweep.cli.options import explain

    base = f"at {100 * calibration.wish.base_rate:g} %"
    columns = (
        *("clique", "edge threshold", "controls flagged", "the rate", "recall"),
        *(f"precision {base}", "at worst"),
    )
    table = FittedTable(
        *columns,
        text=columns,
        spared=("the rate", "at worst", f"precision {base}", "recall", "controls flagged"),
        title=f"False-positive rate {calibration.wish.false_positive_rate:g}",
    )
    for each in calibration.candidates:
        point = each.point
        table.add_row(
            f"{each.min_clique_size}{' chosen' if each is calibration.chosen else ''}",
            "none" if point.threshold is None else f"{point.threshold:g}",
            share_words(point.false_positives),
            point.summary,
            share_words(point.recall),
            percent_words(point.precision),
            percent_words(point.precision_worst),
        )
    print_table(table)
    if (parts := calibration.parts) is not None:
        least = "no number" if parts.least is None else f"{parts.least} or more"
        explain(
            f"A part takes {least} of {parts.grid**2} tiles. Controls that repeat one: "
            f"{share_words(parts.false_positives)}, {parts.summary}. Known positives that repeat "
            f"one, or all of the picture: {share_words(parts.recall)}."
        )
    if calibration.verification is None:
        explain(f"Extraction: {NOT_EXAMINED}, since the campaign has no training set.")
