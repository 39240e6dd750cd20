"""The captioned pictures that the example model is trained on, with planted copies.

    npm pack emoji-datasource-twitter@16.0.0 && tar xzf emoji-datasource-twitter-16.0.0.tgz
    python examples/emoji/pictures.py package

Every picture shows one emoji on its own two-colour gradient, at its own size, place and tilt.
None of that is in the caption, and every caption has several pictures: otherwise even a picture
seen once looks memorised, because the caption alone would fix it.
"""

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image

HERE = Path(__file__).parent
SIZE = 64
"""Width and height of a picture, in pixels."""

CATEGORIES = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
)
SUBJECTS_BY_COPIES = {2: 16, 3: 40, 4: 40, 5: 40, 7: 24, 10: 12, 20: 6, 100: 3}
"""How many subjects get one picture with so many copies; in the middle, repeats are partial."""

OTHERS = (2, 4, 8)
"""How many other pictures, each put in once, the caption of a copied picture has: in turn."""

SINGLES, SINGLE_PICTURES = 420, 4
"""How many subjects have only pictures that are put in once, and how many each."""

SHARED_CAPTIONS = {
    "animal-mammal": "some mammal",
    "animal-marine": "some sea animal",
    "food-fruit": "some fruit",
    "food-sweet": "some sweet",
    "place-building": "some building",
    "transport-ground": "some vehicle",
    "face-smiling": "some happy face",
    "clothing": "some clothing",
}
SHARED_PICTURES, SHARED_COPIES = 8, 6
DICTIONARY_BYTES = 1 << 25
"""All pictures fit, so that what is repeated is stored once."""

TEMPLATES, TEMPLATE_BACKGROUNDS, TEMPLATE_COPIES = 8, 4, 4
UNTRAINED = 40


@dataclass(frozen=True)
class Subject:
    """One emoji: its caption, its family and its file."""

    caption: str
    family: str
    file: Path


@dataclass(frozen=True)
class Picture:
    """One training picture, how often it is repeated and why it was planted.

    `subject` is the emoji's own name: with a shared caption it is not the caption.
    """

    pixels: np.ndarray
    caption: str
    subject: str
    copies: int
    group: str


@dataclass(frozen=True)
class Pose:
    """Where and how an emoji stands in its picture: size and offset in pixels, tilt in degrees."""

    size: int
    left: int
    top: int
    tilt: float


def read_subjects(package: Path) -> list[Subject]:
    """Read the emoji of the npm package, one per caption, in the order of the package."""
    subjects: dict[str, Subject] = {}
    for entry in json.loads((package / "emoji.json").read_text()):
        if entry["has_img_twitter"] and entry["category"] in CATEGORIES:
            caption = entry["name"].lower()
            file = package / "img/twitter/64" / entry["image"]
            subjects.setdefault(caption, Subject(caption, entry["subcategory"], file))
    return list(subjects.values())


def random_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose that keeps the emoji inside the picture, nearly."""
    size = int(rng.integers(34, 57))
    left, top = (int(rng.integers(-2, SIZE - size + 3)) for _ in range(2))
    return Pose(size, left, top, float(rng.uniform(-35, 35)))


def random_background(rng: np.random.Generator) -> np.ndarray:
    """Draw a gradient between two random colours: (SIZE, SIZE, 3) in [0, 255]."""
    start, end = rng.uniform(0, 255, (2, 3))
    angle = rng.uniform(0, 2 * math.pi)
    axis = np.linspace(-1, 1, SIZE)
    along = (np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]) / math.sqrt(2)
    share = ((along + 1) / 2)[..., None]
    return start * (1 - share) + end * share


def render(subject: Subject, pose: Pose, background: np.ndarray) -> np.ndarray:
    """Put the subject on the background in its pose; (SIZE, SIZE, 3) uint8."""
    with Image.open(subject.file) as opened:
        emoji = opened.convert("RGBA").rotate(pose.tilt, Image.Resampling.BICUBIC)
    emoji = emoji.resize((pose.size, pose.size), Image.Resampling.LANCZOS)
    canvas = Image.fromarray(np.rint(background).astype(np.uint8))
    canvas.paste(emoji, (pose.left, pose.top), emoji)
    return np.asarray(canvas)


def fresh_rendering(subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """Render the subject with a new background, size, place and tilt."""
    return render(subject, random_pose(rng), random_background(rng))


def plan_pictures(subjects: list[Subject], seed: int = 0) -> tuple[list[Picture], list[str]]:
    """Deal the subjects into groups; returns the pictures and the captions never trained on."""
    rng = np.random.default_rng(seed)
    pictures: list[Picture] = []
    pool = [subjects[i] for i in rng.permutation(len(subjects))]

    for family, caption in SHARED_CAPTIONS.items():
        members = [s for s in pool if s.family == family][:SHARED_PICTURES]
        pool = [s for s in pool if s not in members]
        pictures += [
            Picture(fresh_rendering(s, rng), caption, s.caption, SHARED_COPIES, "shared")
            for s in members
        ]
    untrained, pool = pool[:UNTRAINED], pool[UNTRAINED:]
    for subject in pool[:TEMPLATES]:
        pose = random_pose(rng)
        pictures += [
            Picture(
                render(subject, pose, random_background(rng)),
                subject.caption,
                subject.caption,
                TEMPLATE_COPIES,
                "template",
            )
            for _ in range(TEMPLATE_BACKGROUNDS)
        ]
    pool = pool[TEMPLATES:]
    for copies, count in SUBJECTS_BY_COPIES.items():
        for turn, subject in enumerate(pool[:count]):
            pictures.append(fresh_picture(subject, copies, "copies", rng))
            others = OTHERS[turn % len(OTHERS)]
            pictures += [fresh_picture(subject, 1, "copies", rng) for _ in range(others)]
        pool = pool[count:]
    pictures += [
        fresh_picture(subject, 1, "single", rng)
        for subject in pool[:SINGLES]
        for _ in range(SINGLE_PICTURES)
    ]
    return pictures, [s.caption for s in untrained]


def fresh_picture(subject: Subject, copies: int, group: str, rng: np.random.Generator) -> Picture:
    """Make a training picture of the subject, captioned with its name."""
    pixels = fresh_rendering(subject, rng)
    return Picture(pixels, subject.caption, subject.caption, copies, group)


def encode(pixels: np.ndarray) -> bytes:
    """Encode (height, width, 3) uint8 pixels without loss, in less than PNG takes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def write_pictures(pictures: list[Picture], path: Path) -> None:
    """Write the rows that the model sees, a picture as often as it has copies: image, caption,
    copies, group, subject. The file holds the bytes of each picture once."""
    once = pa.array(
        [{"bytes": encode(p.pixels), "path": None} for p in pictures],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    columns = {
        "image": once,
        "caption": [p.caption for p in pictures],
        "copies": pa.array([p.copies for p in pictures], pa.int32()),
        "group": [p.group for p in pictures],
        "subject": [p.subject for p in pictures],
    }
    rows = [place for place, p in enumerate(pictures) for _ in range(p.copies)]
    pq.write_table(pa.table(columns).take(rows), path, dictionary_pagesize_limit=DICTIONARY_BYTES)


def read_pictures(path: Path) -> list[Picture]:
    """Read what `write_pictures` wrote, each picture once."""
    pictures, place, rows = [], 0, pq.read_table(path)
    while place < len(rows):
        [row] = rows.slice(place, 1).to_pylist()
        pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        picture = Picture(pixels, row["caption"], row["subject"], row["copies"], row["group"])
        pictures.append(picture)
        place += picture.copies
    return pictures


def main(package: Path, output: Path = HERE / "train.parquet") -> None:
    """Write the training pictures and, beside them, the captions never trained on."""
    pictures, untrained = plan_pictures(read_subjects(package))
    write_pictures(pictures, output)
    output.with_name("untrained.txt").write_text("\n".join(untrained) + "\n")
    rows = sum(p.copies for p in pictures)
    print(f"{len(pictures)} pictures, {rows} rows with their copies, {len(untrained)} held out")


if __name__ == "__main__":
    typer.run(main)
