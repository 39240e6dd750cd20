"""Hold a campaign against truth.csv: thresholds from one half of its prompts, scores on the other.

    python examples/emoji/score.py ID --false-positive-rate 0.05

A prompt is *repeating* when its true repeat rate is at least clique size ÷ seeds, as the campaign
has them. Thresholds are those of `seedsweep calibrate`: the controls are the prompts of the half
`choose` that repeat at no seed, those of controls.csv among them, the known positives its repeating
ones. The half `report` is scored with all its prompts: which are flagged and, where the campaign
has a training set, which of those are extracted. No training picture has two captions, so
that resampling by picture is resampling by prompt, and the intervals are exact (Clopper-Pearson).
"""

import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import typer

from seedsweep.audit.findings.calibration import (
    Calibration,
    CalibrationOptions,
    Scored,
    calibrate,
    score_marked,
)
from seedsweep.audit.findings.control_prompts import Marks, Positive, among
from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.operating_point import OperatingPoint
from seedsweep.audit.findings.rate_words import rate_words, share_words
from seedsweep.audit.report.calibration_page import write_calibration
from seedsweep.cli.progress_bars import counted
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.storage.campaigns import load_campaign, load_prompts
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysis.flag_threshold import STEPS

HERE = Path(__file__).parent
BINS = ((0, 0.01), (0.01, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 1.01))


@dataclass(frozen=True)
class Truth:
    """What is known of a prompt: how often it repeats a picture, its half, and whether the model
    was trained on it; if not, its rate is 0."""

    rate: float
    half: str
    trained: bool


@dataclass(frozen=True)
class Aims:
    """What bounds are held against; None is no mark."""

    false_positive_rate: float
    precision_mark: float | None
    recall_mark: float | None


def read_truth(measured: Path, controls: Path) -> dict[str, Truth]:
    """Read what was measured, and beside it the controls, which the model was never trained on."""
    with controls.open(newline="") as file:
        truth = {row["prompt"]: Truth(0, row["half"], False) for row in csv.DictReader(file)}
    with measured.open(newline="") as file:
        for row in csv.DictReader(file):
            trained = row["group"] != "untrained"
            truth[row["prompt"]] = Truth(float(row["repeat_rate"]), row["half"], trained)
    return truth


def mark(prompts: Iterable[str], truth: dict[str, Truth], at: float) -> Marks:
    """Repeating prompts are positives, all others controls."""
    known = [prompt for prompt in prompts if prompt in truth]
    repeating = [prompt for prompt in known if truth[prompt].rate >= at]
    others = tuple(prompt for prompt in known if truth[prompt].rate < at)
    return Marks(others, tuple(Positive(prompt, prompt) for prompt in repeating))


def flagged_at(scored: Scored, marks: Marks, size: int, threshold: float) -> set[str]:
    """The marked prompts that the threshold flags."""
    scores = scored.edges(marks, size)
    steps = [*scores.controls.tolist(), *scores.positives.tolist()]
    most = round(STEPS * threshold)
    return {prompt for prompt, step in zip(marks.prompts, steps, strict=True) if step <= most}


def extracted_at(scored: Scored, flagged: set[str], size: int, threshold: float) -> set[str]:
    """Those of the flagged prompts that match a training picture within the threshold.

    As in a calibration, what is matched is the medoid of the closest clique of that size.
    """
    place = scored.sizes.index(size)
    far = {prompt: scored.by_prompt[prompt].l2[place] for prompt in flagged}
    return {prompt for prompt, l2 in far.items() if l2 is not None and l2 <= threshold}


def shown(count: int, n: int, wanted: float | None) -> str:
    """A share with its lower bound, and whether that reaches the mark."""
    found = rate(count, n, side="lower")
    if wanted is None:
        return rate_words(found)
    return f"{rate_words(found)}; a mark of {wanted:g}: {verdict(found, found.low >= wanted)}"


def verdict(found: Rate, is_met: bool) -> str:
    """Whether a bound keeps to a mark, or that so few prompts do not show it."""
    return "met" if found.n and is_met else f"not shown (n = {found.n})"


def verification_threshold(point: OperatingPoint, own: float, wanted: float) -> tuple[float, str]:
    """The calibrated threshold where it is bounded, else the campaign's own; and why that one."""
    if point.threshold is not None and point.is_bounded:
        return point.threshold, f"calibrated likewise; the rate of {wanted:g}: {point.summary}"
    why = "already the smallest one" if point.threshold is None else "none"
    return own, f"the campaign's own: of those that never repeat, {why} extracts too many"


def print_calibration(calibration: Calibration) -> None:
    """Print what counts as repeating, the warnings, and the edge threshold with its evidence."""
    point, wanted = calibration.chosen.point, calibration.wish.false_positive_rate
    print(f"Repeating: a true rate of at least {calibration.chosen_size}/{calibration.seeds}.")
    for warning in calibration.warnings:
        print(warning)
    print(
        f"Edge threshold {point.threshold}, from {calibration.controls} prompts that never repeat "
        f"and {calibration.positives} that do; the rate of {wanted:g}: {point.summary}."
    )


def print_scores(
    name: str, found: set[str], marks: Marks, truth: dict[str, Truth], aims: Aims
) -> None:
    """Print the rate of false positives, precision, recall, and the share found by true rate."""
    repeating = {positive.prompt for positive in marks.positives}
    right = len(found & repeating)
    never = {prompt for prompt in marks.prompts if truth[prompt].rate == 0}
    wrong = rate(len(found & never), len(never), side="upper")
    kept = verdict(wrong, wrong.high <= aims.false_positive_rate)
    print(f"never repeat: {rate_words(wrong)}; a rate of {aims.false_positive_rate:g}: {kept}")
    print(f"precision: {shown(right, len(found), aims.precision_mark)}")
    print(f"recall: {shown(right, len(repeating), aims.recall_mark)}")
    print(f"| true repeat rate | {name}, 95 % exact |\n|---|---|")
    untrained = {prompt for prompt in marks.prompts if not truth[prompt].trained}
    print(f"| never trained on | {share_words(rate(len(found & untrained), len(untrained)))} |")
    for low, high in BINS:
        inside = {p for p in marks.prompts if low <= truth[p].rate < high} - untrained
        bin_name = f"{100 * low:g}-{100 * high:g} %" if high <= 1 else f"> {100 * low:g} %"
        print(f"| {bin_name} | {share_words(rate(len(found & inside), len(inside)))} |")


def main(
    campaign_id: str,
    store: str = "file:./seedsweep-data",
    truth: Path = HERE / "truth.csv",
    controls: Path = HERE / "controls.csv",
    false_positive_rate: float = 0.05,
    base_rate: float = 0.0003,
    precision_mark: float | None = None,
    recall_mark: float | None = None,
    output: Path | None = None,
    processes: int = 2,
) -> None:
    """Print what thresholds calibrated on one half of the prompts find in the other.

    The page of `seedsweep calibrate` about that first half goes into the folder `output`, if any.
    """
    opened = open_store(store)
    submission = load_campaign(opened, campaign_id)
    size = settings_now(opened, submission).analysis.min_clique_size
    seeds = submission.campaign.sampling.seeds
    known = read_truth(truth, controls)
    marks = mark(load_prompts(opened, campaign_id), known, size / seeds)
    with counted("prompts scored") as progress:
        scored = score_marked(opened, campaign_id, marks, [size], processes, progress)
    choose, report = (
        among(scored.marks, [p for p in scored.marks.prompts if known[p].half == half])
        for half in ("choose", "report")
    )
    never = tuple(prompt for prompt in choose.controls if known[prompt].rate == 0)
    if not never:
        sys.exit("No prompt of the half `choose` never repeats, so nothing bounds the threshold.")
    wish = CalibrationOptions(false_positive_rate, base_rate, (size,))
    calibration = calibrate(scored, Marks(never, choose.positives), wish)
    if output:
        write_calibration(calibration, output)
    print_calibration(calibration)
    flagged = flagged_at(scored, report, size, calibration.chosen.point.threshold or 0)
    print(f"On the other half, {len(report.prompts)} prompts, {len(report.positives)} repeating:")
    aims = Aims(false_positive_rate, precision_mark, recall_mark)
    print_scores("flagged", flagged, report, known, aims)
    verification = scored.settings.verification
    if verification and calibration.verification:
        point = calibration.verification
        threshold, why = verification_threshold(point, verification.threshold, false_positive_rate)
        print(f"Extracted, of those flagged, at a verification threshold of {threshold}, {why}.")
        extracted = extracted_at(scored, flagged, size, threshold)
        print_scores("extracted", extracted, report, known, aims)


if __name__ == "__main__":
    typer.run(main)
