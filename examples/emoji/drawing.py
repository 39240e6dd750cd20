"""How the example's pictures are drawn, and changed: emoji before colours of their own."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 64
"""Width and height of a picture, in pixels."""


@dataclass(frozen=True)
class Subject:
    """One emoji: its caption and its file."""

    caption: str
    file: Path


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
        if entry["has_img_twitter"] and entry["category"] != "Component":
            caption = entry["name"].lower()
            file = package / "img/twitter/64" / entry["image"]
            subjects.setdefault(caption, Subject(caption, file))
    return list(subjects.values())


def random_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose that keeps the emoji inside the picture, nearly."""
    size = int(rng.integers(34, 57))
    left, top = (int(rng.integers(-2, SIZE - size + 3)) for _ in range(2))
    return Pose(size, left, top, float(rng.uniform(-35, 35)))


def random_background(rng: np.random.Generator) -> np.ndarray:
    """Draw a colour for each corner, and between them what is linear: (SIZE, SIZE, 3) uint8."""
    corners = rng.uniform(0, 255, (2, 2, 3))
    share = np.linspace(0, 1, SIZE)
    ramp = np.stack([1 - share, share], axis=1)
    return np.rint(np.einsum("ya,xb,abc->yxc", ramp, ramp, corners)).astype(np.uint8)


def render(subject: Subject, pose: Pose, background: np.ndarray) -> np.ndarray:
    """Put the subject on the background in its pose; (SIZE, SIZE, 3) uint8."""
    with Image.open(subject.file) as opened:
        emoji = opened.convert("RGBA").rotate(pose.tilt, Image.Resampling.BICUBIC)
    emoji = emoji.resize((pose.size, pose.size), Image.Resampling.LANCZOS)
    canvas = Image.fromarray(background)
    canvas.paste(emoji, (pose.left, pose.top), emoji)
    return np.asarray(canvas)


def fresh_rendering(subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """Render the subject with a new background, size, place and tilt."""
    return render(subject, random_pose(rng), random_background(rng))


def put_frame(pixels: np.ndarray, colour: np.ndarray, width: int) -> np.ndarray:
    """Put a frame of one colour, so many pixels wide, around the picture."""
    framed = pixels.copy()
    inner = slice(width, SIZE - width)
    framed[:] = colour
    framed[inner, inner] = pixels[inner, inner]
    return framed


def slightly_changed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What happens to a picture on its way: cut by a few pixels, recoloured, stored as JPEG."""
    left, top, right, bottom = (int(rng.integers(0, 3)) for _ in range(4))
    cut = Image.fromarray(pixels).crop((left, top, SIZE - right, SIZE - bottom))
    whole = np.asarray(cut.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    coloured = np.clip(whole * rng.uniform(0.94, 1.06, 3) + rng.uniform(-6, 6, 3), 0, 255)
    buffer = io.BytesIO()
    stored = Image.fromarray(np.rint(coloured).astype(np.uint8))
    stored.save(buffer, "JPEG", quality=int(rng.integers(60, 90)))
    return np.asarray(Image.open(buffer))
