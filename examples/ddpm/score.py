"""Hold the audits of both models against truth.csv and repeats.parquet.

    python -m examples.ddpm.score emoji-ddpm emoji-ddpm-deduplicated

A generation that seedsweep extracts is *right* if truth says that it repeats the very picture that
it was matched with. Generations of one picture are not independent, so that intervals are of
distinct training pictures: of one it is asked whether the best ranked of its generations is right.
They are exact (Clopper-Pearson), two-sided, 95 %.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import typer

from examples.ddpm.pictures import HERE
from seedsweep.audit.findings.intervals import paired_rates, rate
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.scheduler.campaign.lookup import find_campaign
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.extractions import read_ranked
from seedsweep.storage.store import Store
from seedsweep.storage.stores import open_store

RANKS = (10, 30, 100, 300, 1000, 3000, 10_000)
"""Down to which rank precision is told."""


@dataclass(frozen=True)
class Ranked:
    """A generation, the `original` that it was matched with, and what was found of it."""

    original: int
    extracted: bool
    right: bool


@dataclass(frozen=True)
class Audit:
    """The generations of a campaign, best first, and how many repeat something."""

    name: str
    ranked: list[Ranked]
    repeats: int

    @property
    def extracted(self) -> list[Ranked]:
        return [each for each in self.ranked if each.extracted]

    @property
    def pictures(self) -> dict[int, Ranked]:
        """The distinct training pictures that are extracted, each with its best generation."""
        best: dict[int, Ranked] = {}
        for each in self.extracted:
            best.setdefault(each.original, each)
        return best


def read_audit(store: Store, campaign_id: str, truth: Path) -> Audit:
    """Read the ranking of a campaign's generations, and what truth says of each."""
    submission = load_campaign(store, find_campaign(store, campaign_id))
    name, settings = submission.campaign.name, settings_now(store, submission)
    repeats = {
        row["seed"]: row["original"]
        for row in pq.read_table(truth / "repeats.parquet").to_pylist()
        if row["campaign"] == name
    }
    rows = pq.read_table(truth / "train.parquet", columns=["original"])["original"].to_pylist()
    ranked = []
    for each in read_ranked(store, settings.analysis_id, submission.campaign.campaign_id):
        original = rows[int(each.training_id.rpartition("#")[2])]
        right = repeats.get(each.seed) == original
        ranked.append(Ranked(original, each.extracted, right))
    return Audit(name, ranked, len(repeats))


def totals(audits: list[Audit]) -> Iterator[list[str]]:
    """How much was extracted, and how much of it is right."""
    yield ["", *(audit.name for audit in audits)]
    yield ["generations", *(f"{len(audit.ranked):,}" for audit in audits)]
    yield ["of these repeat a picture", *(f"{audit.repeats:,}" for audit in audits)]
    yield ["of these extracted", *(_recall(audit) for audit in audits)]
    yield ["extracted", *(f"{len(audit.extracted):,}" for audit in audits)]
    yield ["distinct training pictures", *(f"{len(audit.pictures):,}" for audit in audits)]
    right = [[each.right for each in audit.pictures.values()] for audit in audits]
    yield ["of these right", *(str(rate(sum(each), len(each))) for each in right)]


def _recall(audit: Audit) -> str:
    return f"{sum(each.right for each in audit.extracted):,}"


def by_copies(audits: list[Audit], copies: dict[int, int]) -> Iterator[list[str]]:
    """Of the pictures with so many copies, the share that is extracted, and by how many."""
    yield ["copies", *(f"{a.name}: {w}" for a in audits for w in ("pictures", "generations"))]
    for count in sorted(set(copies.values())):
        cells = []
        for audit in audits:
            found = Counter(each.original for each in audit.extracted)
            own = {original: n for original, n in found.items() if copies[original] == count}
            n = sum(each == count for each in copies.values())
            cells += [str(rate(len(own), n)), f"{sum(own.values()):,}"]
        yield [f"{count}", *cells]


def by_rank(audits: list[Audit]) -> Iterator[list[str]]:
    """How many of the best ranked generations are right, and how many distinct pictures these
    show."""
    yield ["best ranked", *(audit.name for audit in audits)]
    for rank in RANKS:
        if rank <= max(len(audit.ranked) for audit in audits):
            yield [f"{rank:,}", *(_right(audit.ranked[:rank]) for audit in audits)]


def _right(ranked: list[Ranked]) -> str:
    right = [each.original for each in ranked if each.right]
    return f"{len(right):,} right = {len(right) / len(ranked):.2f}, {len(set(right))} pictures"


def difference(audits: list[Audit], copies: dict[int, int]) -> Iterator[str]:
    """The two models compared, picture by picture."""
    first, second = (audit.pictures for audit in audits)
    pairs = [(original in first, original in second) for original in copies]
    paired = paired_rates(pairs)
    yield f"Extracted pictures: {paired.a} and {paired.b}; {paired.difference}, p = {paired.p:.2g}."
    yield (
        "The intervals cover the choice of pictures and of seeds, and not the training: one run "
        "stands on each side."
    )


def read_copies(file: Path) -> dict[int, int]:
    """How many copies each training picture has."""
    with file.open(newline="") as opened:
        return {int(row["original"]): int(row["copies"]) for row in csv.DictReader(opened)}


def print_table(rows: Iterator[list[str]]) -> None:
    """Print rows as a table, the first above a line."""
    for number, row in enumerate(rows):
        print(f"| {' | '.join(row)} |")
        if number == 0:
            print("|---" * len(row) + "|")
    print()


def main(campaign_ids: list[str], store: str = "file:./seedsweep-data", truth: Path = HERE) -> None:
    """Print what the audits found, and how much of it is right."""
    opened, copies = open_store(store), read_copies(truth / "truth.csv")
    audits = [read_audit(opened, one, truth) for one in campaign_ids]
    print_table(totals(audits))
    print_table(by_copies(audits, copies))
    print_table(by_rank(audits))
    if len(audits) == 2:
        print("\n".join(difference(audits, copies)))


if __name__ == "__main__":
    typer.run(main)
