"""The pictures that the models without prompts are trained on, with planted copies.

    npm pack emoji-datasource-twitter@16.0.0 && tar xzf emoji-datasource-twitter-16.0.0.tgz
    python -m examples.ddpm.pictures package

Each is a rendering of the emoji example, no two of one emoji, at half its size.
"""

from pathlib import Path

import numpy as np
import typer
from PIL import Image

from examples.emoji.drawing import Subject, fresh_rendering, read_subjects
from examples.emoji.picture_files import Picture, write_pictures

HERE = Path(__file__).parent
SIZE = 32
"""Width and height of a picture, in pixels."""

PICTURES_BY_COPIES = {300: 10, 100: 20, 30: 30, 10: 30, 3: 30, 1: 1210}
"""How many pictures have so many copies."""


def small_rendering(subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """Render the subject afresh, each pixel the mean of four: (SIZE, SIZE, 3) uint8."""
    return np.asarray(Image.fromarray(fresh_rendering(subject, rng)).reduce(2))


def plan_pictures(subjects: list[Subject], seed: int = 0) -> list[Picture]:
    """Deal the subjects out, and draw one picture of each, all from one seed."""
    rng = np.random.default_rng(seed)
    shuffled = iter(rng.permutation(len(subjects)))
    planned: list[Picture] = []
    for copies, count in PICTURES_BY_COPIES.items():
        for _ in range(count):
            subject = subjects[next(shuffled)]
            pixels, group = small_rendering(subject, rng), "copies" if copies > 1 else "once"
            planned.append(Picture(pixels, subject.caption, copies, group, len(planned)))
    return planned


def main(package: Path, output: Path = HERE / "train.parquet") -> None:
    """Write the training pictures, each as often as it has copies."""
    pictures = plan_pictures(read_subjects(package))
    write_pictures(pictures, output)
    print(f"{len(pictures)} pictures, {sum(p.copies for p in pictures)} rows with their copies")


if __name__ == "__main__":
    typer.run(main)
