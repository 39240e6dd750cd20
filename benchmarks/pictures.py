"""Pictures to measure on, the same for the same arguments; prints how far apart they are.

    .venv/bin/python -m benchmarks.pictures [PICTURES]

All are (count, size, size, 3) uint8. The photographs are those that the wheel of scikit-image
carries, cut and coloured at random; the rest is made here.
"""

import io
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.machine import machine
from seedsweep.workers.analysis.distances import tiled_distances

EXAMPLE = Path(__file__).parents[1] / "examples" / "emoji" / "train.parquet"
PHOTOGRAPHS = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "immunohistochemistry",
    "hubble_deep_field",
    "stereo_motorcycle",
)


def pink(count, size=512, seed=0):
    """Colour images whose amplitude falls as 1/f, as that of photographs does on average."""
    rng = np.random.default_rng(seed)
    made = np.empty((count, size, size, 3), np.uint8)
    for picture in made:
        brightness, contrast = rng.uniform(0.35, 0.65), rng.uniform(0.15, 0.25)
        picture[:] = _pixels(brightness + contrast * _pink(rng, size))
    return made


def same_layout(count, size=512, seed=0, lowest=16):
    """Images with one background and framing, each with detail of its own from `lowest` cycles a
    side upwards: no pair is an edge at 0.1, though small previews look alike."""
    rng = np.random.default_rng(seed)
    base = 0.5 + 0.12 * _pink(rng, size)
    made = np.empty((count, size, size, 3), np.uint8)
    for picture in made:
        picture[:] = _pixels(base + rng.uniform(0.1, 0.17) * _pink(rng, size, lowest))
    return made


def photographs(count, size=512, seed=0):
    """Different crops of a few photographs, some mirrored, each with colours of its own."""
    # Only what measures on photographs needs the package that has them.
    from skimage import data

    rng = np.random.default_rng(seed)
    loaded = [getattr(data, name)() for name in PHOTOGRAPHS]
    # The motorcycle comes with its twin for the other eye, and with their disparity.
    sources = [each[0] if isinstance(each, tuple) else each for each in loaded]
    made = np.empty((count, size, size, 3), np.uint8)
    for number, picture in enumerate(made):
        source = sources[number % len(sources)]
        height, width, _ = source.shape
        side = int(min(height, width) * rng.uniform(0.6, 1))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        crop = _resized(source[top : top + side, left : left + side], size)
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        picture[:] = _pixels((crop / 255) ** rng.uniform(0.8, 1.25) * rng.uniform(0.8, 1.1, 3))
    return made


def with_copies(pictures, copies, apart, seed=0):
    """The pictures, but so many of them, at random places, one picture with another brightness and
    noise each time: tiled l2 of about 0.95 to 1.15 times `apart` between them. Returns
    the pictures and the places."""
    rng = np.random.default_rng(seed)
    places = np.sort(rng.choice(len(pictures), copies, replace=False))
    made = pictures.copy()
    original = 0.2 + 0.6 * pictures[places[0]] / 255  # away from where noise would be cut off
    for place in places:
        brightness = rng.uniform(-0.3, 0.3) * apart
        noise = rng.standard_normal(original.shape, np.float32) * 0.69 * apart
        made[place] = _pixels(original + brightness + noise)
    return made, places


def example_pictures(count, size=512, seed=0):
    """Different training pictures of the example, upscaled: smooth, with flat parts."""
    rows = pq.read_table(EXAMPLE, columns=["image"])["image"].to_pylist()
    different = list(dict.fromkeys(row["bytes"] for row in rows))
    chosen = np.random.default_rng(seed).choice(len(different), count, replace=False)
    small = [np.asarray(Image.open(io.BytesIO(different[at])).convert("RGB")) for at in chosen]
    return upscaled(np.stack(small), size)


def upscaled(pictures, size=512):
    """Bicubic enlargements, such as of the example model's generations of 64 px."""
    return np.stack([_resized(picture, size) for picture in pictures])


def _pink(rng, size, lowest=1):
    """(size, size, 3) float32 of deviation 1 and mean 0: mostly light and dark, a little colour."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) * size
    amplitude = np.where(frequency >= lowest, 1 / np.maximum(frequency, 1), 0).astype(np.float32)
    waves = rng.standard_normal((3, *frequency.shape, 2), np.float32)
    spectrum = amplitude * (waves[..., 0] + 1j * waves[..., 1])
    planes = np.fft.irfft2(spectrum, (size, size))
    planes /= planes.std(axis=(1, 2), keepdims=True)
    light, *colours = planes
    mixed = np.stack([light + 0.3 * colours[0], light + 0.3 * colours[1], light], axis=2)
    return mixed / mixed.std()


def _pixels(values):
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _resized(picture, size):
    shrinks = len(picture) > size
    return cv2.resize(
        picture, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )


def main(count=100):
    """Print quantiles of the tiled l2 of all pairs, for each set."""
    print(machine("numpy", "opencv-python-headless", "scikit-image"), end="\n\n", flush=True)
    distances = {
        "pink": tiled_distances(pink(count), 4),
        "same layout, from 16 cycles": tiled_distances(same_layout(count), 4),
        "same layout, from 48 cycles": tiled_distances(same_layout(count, lowest=48), 4),
        "photographs": tiled_distances(photographs(count), 4),
        "the example's, upscaled": tiled_distances(example_pictures(count), 4),
    }
    for apart in (0.03, 0.1):
        made, places = with_copies(photographs(count), max(count // 10, 2), apart)
        distances[f"copies {apart} apart"] = tiled_distances(made[places], 4)
    quantiles = (0, 0.01, 0.1, 0.5, 0.9, 0.99, 1)
    print(f"Tiled l2 of all pairs, {count} pictures of 512 px:\n")
    print("| set |", " | ".join(f"{share:.0%}" for share in quantiles), "|")
    print("|" + "---|" * (len(quantiles) + 1))
    for name, matrix in distances.items():
        found = np.quantile(matrix[np.triu_indices(len(matrix), 1)], quantiles)
        print(f"| {name} |", " | ".join(f"{value:.3f}" for value in found), "|")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
