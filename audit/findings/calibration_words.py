"""What a calibration says of its thresholds, in sentences: which are chosen, or which to keep."""

from seedsweep.audit.findings.calibration import Calibration, Candidate
from seedsweep.audit.findings.intervals import Rate
from seedsweep.audit.findings.operating_point import OperatingPoint
from seedsweep.audit.findings.part_point import PartPoint
from seedsweep.audit.findings.rate_words import NOT_EXAMINED, share_words
from seedsweep.scheduler.quantities import count_words


def edge_words(calibration: Calibration, candidate: Candidate) -> str:
    """The edge threshold of a clique size, or that there is none and which one to keep."""
    chosen, own = candidate.point.chosen, calibration.own
    if chosen is not None:
        return f"{chosen:g}"
    return f"none; keep {own.edge_threshold:g}" if own else "none"


def kept_words(calibration: Calibration) -> str:
    """That no edge threshold is chosen, why, and which one to keep; empty if one is."""
    point, own = calibration.chosen.point, calibration.own
    if point.chosen is not None:
        return ""
    why = "Too few controls" if _is_few(point) else "Too many controls flagged at every threshold"
    keep = (
        f"keep edge threshold {own.edge_threshold:g} and cliques of {own.min_clique_size} or more"
        if own
        else "keep the campaign's own"
    )
    return f"{why}: no edge threshold is chosen; {keep}."


def l2_words(calibration: Calibration) -> str:
    """From which l2 on a match is an extraction, or which one to keep and why."""
    point, own = calibration.verification, calibration.own
    if point is None:
        return f"Extraction: {NOT_EXAMINED}, since the campaign has no training set."
    keep = f"keep {own.l2:g}" if own and own.l2 is not None else "keep the campaign's own"
    if _is_few(point):
        found = own and own.extracted
        told = f"{found.count} of {count_words(found.n, 'control')} extracted: " if found else ""
        return f"Extraction: {told}too few controls to choose an l2; {keep}."
    told = f"Controls extracted: {share_words(point.false_positives)}."
    if point.threshold is None:
        return f"Extraction: too many controls are extracted at every l2; {keep}. {told}"
    if not point.is_bounded:
        return f"Extraction: controls set no limit to the l2; {keep}. {told}"
    return (
        f"Extraction: an l2 of at most {point.threshold:g}, {point.summary}. {told}"
        f"{_positives(point.recall, 'extracted')}"
    )


def part_words(calibration: Calibration) -> str:
    """How many tiles make a part, or which number to keep and why; empty if nobody asked."""
    parts, own = calibration.parts, calibration.own
    if parts is None:
        return ""
    keep = f"keep {own.least}" if own else "keep the campaign's own"
    if _is_few(parts):
        count = count_words(parts.false_positives.n, "control")
        return f"Parts: {count}: too few to choose how many tiles make a part; {keep}."
    told = f"Controls that repeat one: {share_words(parts.false_positives)}."
    if parts.least is None:
        return f"Parts: too many controls repeat the whole picture; {keep}. {told}"
    return (
        f"A part takes {parts.least} or more of {parts.grid**2} tiles, {parts.summary}. {told}"
        f"{_positives(parts.recall, 'that repeat one, or all of the picture')}"
    )


def _is_few(point: OperatingPoint | PartPoint) -> bool:
    """Whether it is for want of controls that the rate is not shown."""
    found = point.threshold if isinstance(point, OperatingPoint) else point.least
    return not point.shown and found is not None


def _positives(recall: Rate, what: str) -> str:
    return f" Known positives {what}: {share_words(recall)}." if recall.n else ""
