"""Hold a campaign's flagged prompts against truth.csv.

    python examples/emoji/score.py ID              precision and recall, on each half
    python examples/emoji/score.py ID --choose     first try edge thresholds on the half for that

A prompt is *repeating* when its true repeat rate is at least clique size ÷ seeds. Prompts whose
rate lies within ± 0.1 of that are counted apart: there chance decides. Intervals are exact
(Clopper-Pearson, 95 %).
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from scipy.stats import binomtest

from scheduler.audit import results_now, settings_now
from storage.campaigns import load_campaign, load_prompts
from storage.records import Submission
from storage.store import Store, open_store
from workers.analysis.cliques import largest_clique
from workers.analysis.distances import tiled_distances
from workers.stored_prompts import read_prompt

HERE = Path(__file__).parent
THRESHOLDS = np.round(np.arange(0.05, 0.31, 0.01), 2)
NEAR = 0.1


@dataclass(frozen=True)
class Score:
    """How flags and truth agree on some prompts."""

    hits: int
    misses: int
    false_alarms: int
    rejections: int

    def __str__(self) -> str:
        precision = _share(self.hits, self.hits + self.false_alarms)
        recall = _share(self.hits, self.hits + self.misses)
        return f"precision {precision}, recall {recall}, {self.rejections} rightly not flagged"

    @property
    def balance(self) -> float:
        """F1: 0 for useless, 1 for perfect."""
        return 2 * self.hits / max(1, 2 * self.hits + self.misses + self.false_alarms)


def _share(count: int, total: int) -> str:
    if total == 0:
        return "not shown (n = 0)"
    interval = binomtest(count, total).proportion_ci(0.95, method="exact")
    return f"{count}/{total} = {count / total:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def read_truth() -> dict[str, tuple[float, str]]:
    """Read each measured prompt's repeat rate and half."""
    with (HERE / "truth.csv").open(newline="") as file:
        return {r["prompt"]: (float(r["repeat_rate"]), r["half"]) for r in csv.DictReader(file)}


def score(flagged: set[str], prompts: Iterable[str], rates: dict[str, float], at: float) -> Score:
    """Count agreement over the prompts; repeating means a rate of at least `at`."""
    counts = {(said, is_so): 0 for said in (True, False) for is_so in (True, False)}
    for prompt in prompts:
        counts[prompt in flagged, rates[prompt] >= at] += 1
    return Score(counts[True, True], counts[False, True], counts[True, False], counts[False, False])


def distances_of(store: Store, submission: Submission, prompt: str, tiles: int) -> np.ndarray:
    """All pair distances of a prompt's stored images, from all pixels."""
    stored = read_prompt(store, submission, prompt)
    evidence = [place for place, image in enumerate(stored.images) if image.flaw is None]
    return tiled_distances(stored.pixels(evidence), tiles)


def try_thresholds(
    store: Store,
    submission: Submission,
    prompts: list[str],
    rates: dict[str, float],
    size: int,
    at: float,
) -> None:
    """Print the score of every threshold on the prompts given."""
    tiles = submission.campaign.analysis.tiles
    distances = {p: distances_of(store, submission, p, tiles) for p in prompts}
    clear = [p for p in prompts if abs(rates[p] - at) > NEAR]
    for threshold in THRESHOLDS:
        flagged = set()
        for prompt, pairs in distances.items():
            edges = (pairs <= threshold) & ~np.eye(len(pairs), dtype=bool)
            if largest_clique(edges, size).members:
                flagged.add(prompt)
        found, all_found = (score(flagged, chosen, rates, at) for chosen in (clear, prompts))
        print(f"{threshold:.2f}: F1 {found.balance:.3f} (all {all_found.balance:.3f}), {found}")


def main(campaign_id: str, store: str = "file:./seedsweep-data", choose: bool = False) -> None:
    """Print precision and recall of a finished campaign on each half of the prompts."""
    opened = open_store(store)
    submission = load_campaign(opened, campaign_id)
    size = settings_now(opened, submission).analysis.min_clique_size
    at = size / submission.campaign.sampling.seeds
    truth = read_truth()
    rates = {prompt: rate for prompt, (rate, _) in truth.items()}
    prompts = load_prompts(opened, campaign_id)
    if choose:
        mine = [p for p in prompts if truth[p][1] == "choose"]
        try_thresholds(opened, submission, mine, rates, size, at)
    flagged = {r.prompt for r in results_now(opened, campaign_id) if r.flagged}
    print(f"Repeating: a true rate of at least {size}/{submission.campaign.sampling.seeds}.")
    for half in ("choose", "report"):
        mine = [p for p in prompts if truth[p][1] == half]
        near = [p for p in mine if abs(rates[p] - at) <= NEAR]
        clear = [p for p in mine if p not in near]
        print(f"{half:6} clear of it by {NEAR}: {score(flagged, clear, rates, at)}")
        print(f"{half:6} within ±{NEAR} of it: {score(flagged, near, rates, at)}")


if __name__ == "__main__":
    typer.run(main)
