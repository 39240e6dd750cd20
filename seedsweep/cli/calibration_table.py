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
        "edge_threshold": chosen.point.chosen,
        "min_clique_size": None if chosen.point.chosen is None else chosen.min_clique_size,
        "own": dataclasses.asdict(calibration.own) if calibration.own else None,
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
    from seedsweep.audit.findings.calibration_words import (
        edge_words,
        kept_words,
        l2_words,
        part_words,
    )
    from seedsweep.audit.findings.rate_words import percent_words, share_words
    from seedsweep.cli.console import print_table
    from seedsweep.cli.fitted_table import FittedTable
    from seedsweep.cli.options import explain

    base_rate, chosen = calibration.wish.base_rate, calibration.chosen
    recall = ("recall",) if calibration.positives else ()
    precision: tuple[str, ...] = ()
    if base_rate is not None and chosen.point.shown and recall:
        precision = (f"precision at {100 * base_rate:g} %", "at worst")
    columns = ("clique", "edge threshold", "controls flagged", "the rate", *recall, *precision)
    table = FittedTable(
        *columns,
        text=columns,
        spared=("the rate", *reversed(precision), *recall, "controls flagged"),
        title=f"False-positive rate {calibration.wish.false_positive_rate:g}",
    )
    for each in calibration.candidates:
        point = each.point
        is_chosen = each is chosen and point.shown
        cells = [
            f"{each.min_clique_size}{' chosen' if is_chosen else ''}",
            edge_words(calibration, each),
            share_words(calibration.alarms(each)),
            point.summary,
        ]
        if recall:
            cells.append(share_words(calibration.recall(each)))
        if precision:
            cells += [percent_words(point.precision), percent_words(point.precision_worst)]
        table.add_row(*cells)
    print_table(table)
    sentences = (kept_words(calibration), part_words(calibration), l2_words(calibration))
    for sentence in filter(None, sentences):
        explain(sentence)
