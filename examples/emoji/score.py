"""Hold a campaign against truth.csv: thresholds from controls alone, scores on all other prompts.

    python examples/emoji/score.py ID -o scores

The thresholds are chosen as `seedsweep calibrate` does, from the controls of the half `choose`; no
prompt that is known to be repeated takes part. `calibrate` leaves out captions of the training set;
here those whose pictures were put in once count as controls too, since truth.csv has what they
repeat. Everything else is scored: all planted prompts, and the
controls of the half `report`.

A prompt is *to be found* if its true repeat rate is at least twice clique size ÷ seeds: of those
recall is told. A flag is *right* if the prompt repeats one training picture at 1 % of the seeds or
more, by the lower 95 % bound of what was measured: of those precision is told. The caption of a
control can repeat another caption's picture; so each that the campaign's own thresholds flag has to
be measured, and is no control if it is right. *Extracted* are the flagged prompts whose closest
clique has a medoid that matches a training picture; *own edge* takes for flagged what the
campaign's own edge threshold flags, and lets the match decide. No training picture has two
captions, so that prompts are independent and the intervals are exact (Clopper-Pearson), one-sided
for rates that are held against a mark.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from picture_files import read_pictures
from pictures import HERE
from PIL import Image
from truth_table import LEAST, Truth, read_truth

from seedsweep.audit.findings.calibration import Calibration, CalibrationOptions, calibrate
from seedsweep.audit.findings.control_prompts import Marks, Positive
from seedsweep.audit.findings.intervals import Rate, rate
from seedsweep.audit.findings.marked_scores import MarkedScores, score_marked
from seedsweep.audit.findings.operating_point import OperatingPoint, precision_at
from seedsweep.audit.findings.rate_words import share_words
from seedsweep.audit.report.calibration_page import write_calibration
from seedsweep.cli.progress_bars import counted
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.storage.campaigns import load_campaign, load_prompts
from seedsweep.storage.store import Store
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysts.stored_prompt import read_prompt

BINS = ((0, 0.01), (0.01, 0.05), (0.05, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 1.01))
BASE_RATES = (0.1, 0.01, 0.001, 0.0003)
SHOWN = 8
"""How many generations of a missed prompt stand beside its training picture."""


def steps_of(scored: MarkedScores, size: int) -> dict[str, float]:
    """The edge threshold at which each prompt is flagged, 1 or more where none is."""
    place = scored.sizes.index(size)
    found = {prompt: score.critical[place].step for prompt, score in scored.by_prompt.items()}
    return {prompt: 1.001 if step is None else step / 1000 for prompt, step in found.items()}


def extracted_at(scored: MarkedScores, flagged: set[str], size: int, threshold: float) -> set[str]:
    """Those of the flagged prompts that match a training picture within the threshold.

    As in a calibration, what is matched is the medoid of the closest clique of that size.
    """
    place = scored.sizes.index(size)
    far = {prompt: scored.by_prompt[prompt].l2[place] for prompt in flagged}
    return {prompt for prompt, l2 in far.items() if l2 is not None and l2 <= threshold}


@dataclass(frozen=True)
class Found:
    """The prompts that are scored, those to be found, and which the audit found."""

    truth: dict[str, Truth]
    to_find: set[str]
    found: set[str]

    @property
    def precision(self) -> Rate:
        right = sum(self.truth[prompt].is_right for prompt in self.found)
        return rate(right, len(self.found), side="lower")

    @property
    def recall(self) -> Rate:
        return rate(len(self.found & self.to_find), len(self.to_find), side="lower")

    def false_alarms(self, confidence: float = 0.95) -> Rate:
        """Of controls that repeat nothing."""
        controls = self.inside(lambda truth: truth.half is not None and not truth.is_right)
        return rate(len(self.found & controls), len(controls), confidence, side="upper")

    def inside(self, wanted: Callable[[Truth], bool]) -> set[str]:
        return {prompt for prompt, truth in self.truth.items() if wanted(truth)}

    def share(self, wanted: Callable[[Truth], bool]) -> str:
        inside = self.inside(wanted)
        return share_words(rate(len(self.found & inside), len(inside)))

    def precision_if(self, base_rate: float, false_positive_rate: float) -> tuple[float, float]:
        """The share of flags that are right where that share of prompts deserves one: at the rate
        asked for, and if recall and rate are as bad as their bounds, both with 95 %."""
        bound = rate(len(self.found & self.to_find), len(self.to_find), 0.975, side="lower").low
        worst = precision_at(bound, self.false_alarms(0.975).high, base_rate)
        expected = precision_at(self.recall.value or 0, false_positive_rate, base_rate)
        return expected or 0, worst or 0


def held(found: Rate, mark: float, is_met: bool) -> str:
    """A rate, and whether its bound keeps to a mark, or that so few prompts do not show it."""
    verdict = "met" if found.n and is_met else f"not shown (n = {found.n})"
    return f"{share_words(found)}; {mark:g}: {verdict}"


def rows(one: Found, asked: float, precision: float, recall: float) -> list[tuple[str, str]]:
    """What is told of the flagged, or of the extracted: names, and what stands beside them."""
    alarms = one.false_alarms()
    told = [
        ("false alarms", held(alarms, asked, alarms.high <= asked)),
        ("precision", held(one.precision, precision, one.precision.low >= precision)),
        ("recall", held(one.recall, recall, one.recall.low >= recall)),
    ]
    for base_rate in BASE_RATES:
        expected, worst = one.precision_if(base_rate, asked)
        words = f"{expected:.3g}, at least {worst:.3g}"
        told.append((f"precision if {100 * base_rate:g} % repeat", words))
    groups = sorted({truth.group for truth in one.truth.values()})
    told += [(f"group {name}", one.share(lambda t, n=name: t.group == n)) for name in groups]
    copied = sorted({truth.copies for truth in one.truth.values() if truth.group == "copies"})
    for copies in copied:
        is_one = one.share(lambda t, n=copies: t.group == "copies" and t.copies == n)
        told.append((f"group copies, {copies} copies", is_one))
    for low, high in BINS:
        name = f"true rate {100 * low:g}-{100 * min(high, 1):g} %"
        is_measured = one.share(lambda t, a=low, b=high: t.seeds > 0 and a <= t.rate < b)
        told.append((name, is_measured))
    return told


def verification_threshold(point: OperatingPoint, own: float, asked: float) -> tuple[float, str]:
    """The calibrated threshold where it is bounded, else the campaign's own; and why that one."""
    if point.threshold is not None and point.is_bounded:
        return point.threshold, f"calibrated likewise; the rate of {asked:g}: {point.summary}"
    why = "already the smallest one" if point.threshold is None else "none"
    return own, f"the campaign's own: of the controls, {why} extracts too many"


def refuse_unmeasured(prompts: Iterable[str], truth: dict[str, Truth], output: Path) -> None:
    """Controls that are flagged may well repeat another caption's picture."""
    missing = sorted(prompt for prompt in prompts if not truth[prompt].seeds)
    if missing:
        output.mkdir(parents=True, exist_ok=True)
        file = output / "flagged-controls.txt"
        file.write_text("\n".join(missing) + "\n")
        sys.exit(
            f"{len(missing)} controls are flagged by the campaign's own thresholds and were not "
            f"measured; measure those of {file} (truth.py package --controls {file}), and score "
            "again."
        )


def write_missed(store: Store, campaign_id: str, missed: list[str], path: Path) -> None:
    """Draw a row for each missed prompt: its most copied training picture, then generations."""
    submission, most = load_campaign(store, campaign_id), {}
    for picture in read_pictures(HERE / "train.parquet", missed):
        if picture.caption not in most or picture.copies > most[picture.caption].copies:
            most[picture.caption] = picture
    drawn = []
    for prompt in missed:
        stored = read_prompt(store, submission, prompt)
        generated = stored.pixels(range(min(SHOWN, len(stored.images))))
        blank = np.full_like(generated[0], 255)
        trained = most[prompt].pixels if prompt in most else blank
        drawn.append(np.concatenate([trained, blank[:, :4], *generated], axis=1))
    Image.fromarray(np.concatenate(drawn)).save(path)


def print_calibration(calibration: Calibration) -> None:
    """Print the edge threshold with its evidence, and what was not as it should be."""
    for warning in calibration.warnings:
        print(warning)
    point, asked = calibration.chosen.point, calibration.wish.false_positive_rate
    print(
        f"Edge threshold {point.threshold}, from {calibration.controls} controls; "
        f"the rate of {asked:g}: {point.summary}."
    )


def print_missed(missed: list[str], truth: dict[str, Truth], steps: dict[str, float]) -> None:
    """Print each prompt that was to be found and was not, and from which threshold it would be."""
    print("\n| missed | group | copies | true rate | flagged from |\n|---|---|---|---|---|")
    for prompt in missed:
        one = truth[prompt]
        print(f"| {prompt} | {one.group} | {one.copies} | {one.rate:.3g} | {steps[prompt]:.3f} |")


def main(
    campaign_id: str,
    output: Annotated[Path, typer.Option("-o", "--output")] = Path("scores"),
    store: str = "file:./seedsweep-data",
    truth: Path = HERE / "truth.csv",
    controls: Path = HERE / "controls.csv",
    false_positive_rate: float = 0.01,
    precision_mark: float = 0.97,
    recall_mark: float = 0.95,
    processes: int = 2,
) -> None:
    """Print what thresholds calibrated on controls find; pages and pictures go into `output`."""
    opened = open_store(store)
    submission = load_campaign(opened, campaign_id)
    settings = settings_now(opened, submission)
    size, seeds = settings.analysis.min_clique_size, submission.campaign.sampling.seeds
    known = read_truth(truth, controls)
    prompts = [prompt for prompt in load_prompts(opened, campaign_id) if prompt in known]
    marks = Marks(
        tuple(prompt for prompt in prompts if known[prompt].half),
        tuple(Positive(prompt, prompt) for prompt in prompts if not known[prompt].half),
    )
    with counted("prompts scored") as progress:
        scored = score_marked(opened, campaign_id, marks, [size], processes, progress, trained=True)
    steps = steps_of(scored, size)
    own = settings.analysis.edge_threshold
    flagged_controls = [p for p in scored.marks.controls if steps[p] <= own]
    refuse_unmeasured(flagged_controls, known, output)
    used = scored.marks.prompts
    choose = [p for p in used if known[p].half == "choose" and not known[p].is_right]
    wish = CalibrationOptions(false_positive_rate, LEAST, (size,))
    calibration = calibrate(scored, Marks(tuple(choose), ()), wish)
    write_calibration(calibration, output)
    print_calibration(calibration)
    report = {p: known[p] for p in used if known[p].half != "choose"}
    to_find = {p for p, one in report.items() if one.rate >= 2 * size / seeds}
    threshold = calibration.chosen.point.threshold or 0
    flagged = {p for p in report if steps[p] <= threshold}
    sides = {"flagged": Found(report, to_find, flagged)}
    print(
        f"Scored: {len(report)} prompts, {len(to_find)} of a rate of at least {2 * size}/{seeds}."
    )
    if settings.verification and calibration.verification:
        point = calibration.verification
        within, why = verification_threshold(
            point, settings.verification.threshold, false_positive_rate
        )
        print(f"Verification threshold {within}, {why}.")
        sides["extracted"] = Found(report, to_find, extracted_at(scored, flagged, size, within))
        loosely = {p for p in report if steps[p] <= own}
        matched = extracted_at(scored, loosely, size, within)
        sides["extracted, own edge"] = Found(report, to_find, matched)
    told = [rows(one, false_positive_rate, precision_mark, recall_mark) for one in sides.values()]
    print(f"\n| | {' | '.join(sides)} |\n{'|---' * (len(sides) + 1)}|")
    for lines in zip(*told, strict=True):
        print(f"| {lines[0][0]} | {' | '.join(words for _, words in lines)} |")
    missed = sorted(to_find - flagged, key=lambda prompt: -known[prompt].rate)
    if missed:
        print_missed(missed, known, steps)
        write_missed(opened, campaign_id, missed, output / "missed.png")


if __name__ == "__main__":
    typer.run(main)
