"""Hold the parts that a campaign repeats against truth.csv: how large one has to be, from controls.

    python examples/emoji/score_parts.py ID -o scores

How many tiles make a part is chosen by `seedsweep calibrate --partial` on the controls of the half
`choose` alone. All planted captions and the controls of the half `report` are scored. A template is
*to be found* if its part repeats at twice clique size ÷ seeds or more. What is found at a size is
each prompt that repeats a part, or all, of the picture, of at least so many tiles. Intervals as in
score.py, whose campaign this is, and whose truth.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from picture_files import read_pictures
from pictures import HERE
from PIL import Image
from score import held
from truth_table import Truth, read_truth

from seedsweep.audit.findings.calibration import CalibrationOptions, calibrate
from seedsweep.audit.findings.control_prompts import Marks, Positive
from seedsweep.audit.findings.intervals import rate
from seedsweep.audit.findings.marked_scores import score_marked
from seedsweep.audit.findings.rate_words import share_words
from seedsweep.audit.report.calibration_page import write_calibration
from seedsweep.cli.progress_bars import counted
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.storage.campaigns import load_campaign, load_prompts
from seedsweep.storage.store import Store
from seedsweep.storage.stores import open_store
from seedsweep.workers.analysts.stored_prompt import read_prompt

SHARES = ((0, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 1.01))
LARGE = 0.2
"""The share of the picture from which on a template's part is held against the mark."""

CURVE = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64)
DRAWN, BESIDE = 10, 8
"""How many prompts are drawn, and how many generations of each."""


def share(tiles: dict[str, int], among: Iterable[str], least: int) -> str:
    """How many of these prompts repeat so many tiles, with a two-sided interval."""
    chosen = list(among)
    return share_words(rate(sum(tiles[prompt] >= least for prompt in chosen), len(chosen)))


def draw(store: Store, campaign_id: str, prompts: list[str], path: Path) -> None:
    """A row for each prompt: one of its training pictures, if it has any, then generations."""
    submission, trained = load_campaign(store, campaign_id), {}
    for picture in read_pictures(HERE / "train.parquet"):
        trained.setdefault(picture.caption, picture.pixels)
    rows = []
    for prompt in prompts:
        stored = read_prompt(store, submission, prompt)
        generated = stored.pixels(range(min(BESIDE, len(stored.images))))
        blank = np.full_like(generated[0], 255)
        rows.append(np.concatenate([trained.get(prompt, blank), blank[:, :4], *generated], axis=1))
    if rows:
        Image.fromarray(np.concatenate(rows)).save(path)


def print_scores(
    report: dict[str, Truth], tiles: dict[str, int], least: int, mark: float, asked: float
) -> None:
    """Print what parts of so many tiles find, and the curve over all sizes."""
    size = {"least": least}
    controls = [p for p, one in report.items() if one.half]
    templates = [p for p, one in report.items() if one.group == "template"]
    print("\n| | repeat a part, or all |\n|---|---|")
    alarms = rate(sum(tiles[p] >= least for p in controls), len(controls), side="upper")
    print(f"| false alarms | {held(alarms, asked, alarms.high <= asked)} |")
    large = [p for p in templates if report[p].part_share >= LARGE]
    found = rate(sum(tiles[p] >= least for p in large), len(large), side="lower")
    words = held(found, mark, found.low >= mark)
    print(f"| templates, parts of {100 * LARGE:g} % or more | {words} |")
    for low, high in SHARES:
        among = [p for p in templates if low <= report[p].part_share < high]
        name = f"templates, parts of {100 * low:g}-{100 * min(high, 1):g} %"
        print(f"| {name} | {share(tiles, among, **size)} |")
    for group in sorted({one.group for one in report.values()} - {"template"}):
        among = [p for p, one in report.items() if one.group == group]
        print(f"| group {group} | {share(tiles, among, **size)} |")
    whole = [p for p, one in report.items() if one.is_right and one.group != "template"]
    print("\n| tiles | templates | whole pictures | controls |\n|---|---|---|---|")
    for least in CURVE:
        columns = (share(tiles, among, least) for among in (templates, whole, controls))
        print(f"| {least} | {' | '.join(columns)} |")


def main(
    campaign_id: str,
    output: Annotated[Path, typer.Option("-o", "--output")] = Path("scores"),
    store: str = "file:./seedsweep-data",
    truth: Path = HERE / "truth.csv",
    controls: Path = HERE / "controls.csv",
    false_positive_rate: float = 0.01,
    recall_mark: float = 0.95,
    processes: int = 2,
) -> None:
    """Print what parts calibrated on controls find; pages and pictures go into `output`."""
    opened = open_store(store)
    submission = load_campaign(opened, campaign_id)
    size = settings_now(opened, submission).analysis.min_clique_size
    seeds = submission.campaign.sampling.seeds
    known = read_truth(truth, controls)
    prompts = [prompt for prompt in load_prompts(opened, campaign_id) if prompt in known]
    # A control that repeats another caption's picture is none.
    right = {p for p in prompts if known[p].half and known[p].is_right}
    choose = [p for p in prompts if known[p].half == "choose" and p not in right]
    others = [p for p in prompts if known[p].half != "choose" and p not in right]
    marks = Marks(tuple(choose), tuple(Positive(p, p) for p in others))
    with counted("prompts scored") as progress:
        scored = score_marked(
            opened, campaign_id, marks, [size], processes, progress, True, trained=True
        )
    wish = CalibrationOptions(false_positive_rate, 0.01, (size,), partial=True)
    calibration = calibrate(scored, Marks(scored.marks.controls, ()), wish)
    write_calibration(calibration, output)
    for warning in calibration.warnings:
        print(warning)
    point = calibration.parts
    if point is None or point.least is None:
        print("At every size too many controls repeat a part.")
        return
    print(
        f"A part takes {point.least} of {point.grid**2} tiles, from {calibration.controls} "
        f"controls; the rate of {false_positive_rate:g}: {point.summary}."
    )
    tiles = {prompt: score.parts[0] for prompt, score in scored.by_prompt.items()}
    report = {
        p: known[p]
        for p in others
        if p in tiles and (known[p].group != "template" or known[p].part_rate >= 2 * size / seeds)
    }
    print(f"Scored: {len(report)} prompts, with the templates whose part repeats at a rate of at ")
    print(f"least {2 * size}/{seeds}.")
    print_scores(report, tiles, point.least, recall_mark, false_positive_rate)
    best = sorted(report, key=lambda prompt: -tiles[prompt])
    partial = [p for p in best if not report[p].half and not report[p].is_right]
    wrong = [p for p in best if report[p].half and tiles[p] >= point.least]
    missed = [p for p in best if report[p].group == "template" and tiles[p] < point.least]
    for name, shown in (("best", partial), ("wrong", wrong), ("missed", missed)):
        drawn = shown[:DRAWN] if name == "best" else shown
        draw(opened, campaign_id, drawn, output / f"parts-{name}.png")
        print(f"\n{name}: {', '.join(f'{p} ({tiles[p]})' for p in drawn) or 'none'}")


if __name__ == "__main__":
    typer.run(main)
