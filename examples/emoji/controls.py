"""Choose control prompts, and what the example's campaigns ask for.

    python examples/emoji/controls.py package

Controls are the captions whose pictures were put in once, and names of emoji that the model was
never shown, nor told of, in the order of their hashes: nobody picks them. Writes controls.csv;
control-pictures.parquet, with an emoji of each of the first 300 that were never shown; prompts.csv,
64 captions of every group; and scored-prompts.csv, all planted captions and all controls.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import typer
from drawing import fresh_rendering, read_subjects
from picture_files import Picture, read_pictures, write_pictures
from pictures import HERE, by_caption, copies_of, group_of

CONTROLS = {"choose": 330, "report": 520}
"""How many controls each half has: those seen once first."""

PICTURES = 300
PROMPTS = {"copies 100": 8, "copies 30": 8, "copies 10": 8, "copies 3": 6, "near": 4, "two": 4}
PROMPTS |= {"varied": 4, "template": 6, "common frame": 2, "common logo": 1, "common background": 1}
PROMPTS |= {"once": 6, "untrained": 6}
"""How many prompts of campaign.toml are of which group."""

Row = dict[str, str]


def by_hash(names: Iterable[str]) -> list[str]:
    """The names in an order that nobody chose."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def half_of(name: str) -> str:
    """Deal three of eight to the half that thresholds are chosen on."""
    return "choose" if hashlib.sha256(name.encode()).digest()[-1] % 8 < 3 else "report"


def row(caption: str, pictures: list[Picture]) -> Row:
    """What the files say of a caption."""
    return {"prompt": caption, "copies": str(copies_of(pictures)), "group": group_of(pictures)}


def deal(once: list[Row], untrained: list[Row]) -> list[Row]:
    """The controls of each half, as rows of controls.csv."""
    return [
        one | {"half": half}
        for half, count in CONTROLS.items()
        for one in [r for r in [*once, *untrained] if half_of(r["prompt"]) == half][:count]
    ]


def choose_prompts(rows: list[Row]) -> list[Row]:
    """The prompts of campaign.toml, by group the first so many by hash."""
    left, chosen = Counter(PROMPTS), []
    for one in rows:
        name = f"copies {one['copies']}" if one["group"] == "copies" else one["group"]
        if left[name] > 0:
            left[name] -= 1
            chosen.append(one)
    return chosen


def write_rows(rows: list[Row], columns: list[str], path: Path) -> None:
    """Write these columns of the rows."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_control_pictures(names: list[str], package: Path, path: Path) -> None:
    """Write a picture of each emoji, made as the training pictures were."""
    subjects = {subject.caption: subject for subject in read_subjects(package)}
    rng = np.random.default_rng(0)
    drawn = [
        Picture(fresh_rendering(subjects[name], rng), name, 1, "control", number)
        for number, name in enumerate(names)
    ]
    write_pictures(drawn, path)


def main(package: Path, output: Path = HERE) -> None:
    """Write the controls, pictures to verify with, and the prompts of the campaigns."""
    trained = by_caption(read_pictures(HERE / "train.parquet"))
    never = by_hash((HERE / "untrained.txt").read_text().splitlines())
    rows = [row(caption, trained.get(caption, [])) for caption in [*by_hash(trained), *never]]
    once = [r for r in rows if r["group"] == "once"]
    controls = deal(once, [r for r in rows if r["group"] == "untrained"])
    planted = [r for r in rows if r["group"] not in ("once", "untrained")]
    columns = ["prompt", "copies", "group"]
    write_rows(controls, [*columns, "half"], output / "controls.csv")
    write_control_pictures(never[:PICTURES], package, output / "control-pictures.parquet")
    write_rows(choose_prompts(rows), columns, output / "prompts.csv")
    write_rows([*planted, *controls], columns, output / "scored-prompts.csv")
    print(f"{len(planted)} planted captions, {len(controls)} controls")


if __name__ == "__main__":
    typer.run(main)
