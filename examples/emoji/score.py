"""Hold a campaign against truth.csv: thresholds from one half of its prompts, scores on the other.

    python examples/emoji/score.py ID --false-positive-rate 0.05

A prompt is *repeating* when its true repeat rate is at least clique size ÷ seeds, as the campaign
has them. Thresholds are those of `seedsweep calibrate`: the controls are the prompts of the half
`choose` that repeat at no seed, those of controls.csv among them, the known positives its repeating
ones. The half `report` is scored with all its prompts. No training picture has two captions, so
that resampling by picture is resampling by prompt, and the intervals are exact (Clopper-Pearson).
"""

import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import typer

from scheduler.audit import settings_now
from scheduler.calibration import Scored, Wish, calibrate, score_marked
from scheduler.calibration_page import rate_words, share_words, write_calibration
from scheduler.display import counted
from scheduler.intervals import Rate, rate
from scheduler.marks import Marks, Positive, among
from storage.campaigns import load_campaign, load_prompts
from storage.store import open_store
from workers.analysis.critical import STEPS

HERE = Path(__file__).parent
BINS = ((0, 0.01), (0.01, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 1.01))


@dataclass(frozen=True)
class Truth:
    """What is known of a prompt: how often it repeats a picture, its half, and whether the model
    was trained on it; if not, its rate is 0."""

    rate: float
    half: str
    trained: bool


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


def shown(count: int, n: int, wanted: float | None) -> str:
    """A share with its lower bound, and whether that reaches the mark."""
    found = rate(count, n, side="lower")
    if wanted is None:
        return rate_words(found)
    return f"{rate_words(found)}; a mark of {wanted:g}: {verdict(found, found.low >= wanted)}"


def verdict(found: Rate, is_met: bool) -> str:
    """Whether a bound keeps to a mark, or that so few prompts do not show it."""
    return "met" if found.n and is_met else f"not shown (n = {found.n})"


def print_scores(
    flagged: set[str],
    marks: Marks,
    truth: dict[str, Truth],
    false_positive_rate: float,
    precision_mark: float | None,
    recall_mark: float | None,
) -> None:
    """Print the rate of false positives, precision, recall, and the share flagged by true rate."""
    repeating = {positive.prompt for positive in marks.positives}
    right = len(flagged & repeating)
    never = {prompt for prompt in marks.prompts if truth[prompt].rate == 0}
    wrong = rate(len(flagged & never), len(never), side="upper")
    kept = verdict(wrong, wrong.high <= false_positive_rate)
    print(f"never repeat: {rate_words(wrong)}; a rate of {false_positive_rate:g}: {kept}")
    print(f"precision: {shown(right, len(flagged), precision_mark)}")
    print(f"recall: {shown(right, len(repeating), recall_mark)}")
    print("| true repeat rate | flagged, 95 % exact |\n|---|---|")
    untrained = {prompt for prompt in marks.prompts if not truth[prompt].trained}
    print(f"| never trained on | {share_words(rate(len(flagged & untrained), len(untrained)))} |")
    for low, high in BINS:
        inside = {p for p in marks.prompts if low <= truth[p].rate < high} - untrained
        name = f"{100 * low:g}-{100 * high:g} %" if high <= 1 else f"> {100 * low:g} %"
        print(f"| {name} | {share_words(rate(len(flagged & inside), len(inside)))} |")


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
    wish = Wish(false_positive_rate, base_rate, (size,))
    calibration = calibrate(scored, Marks(never, choose.positives), wish)
    if output:
        write_calibration(calibration, output)
    point = calibration.chosen.point
    print(f"Repeating: a true rate of at least {size}/{seeds}.")
    for warning in calibration.warnings:
        print(warning)
    print(
        f"Edge threshold {point.threshold}, from {len(never)} prompts that never repeat and "
        f"{len(choose.positives)} that do; the rate of {false_positive_rate:g}: {point.summary}."
    )
    flagged = flagged_at(scored, report, size, point.threshold or 0)
    print(f"On the other half, {len(report.prompts)} prompts, {len(report.positives)} repeating:")
    print_scores(flagged, report, known, false_positive_rate, precision_mark, recall_mark)


if __name__ == "__main__":
    typer.run(main)
