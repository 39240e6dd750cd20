"""Encoding 512 px pictures as PNG: seconds and bytes of each encoder, alone and beside a model.

    .venv/bin/python -m benchmarks.png [--rounds N] [--seconds S]

Alone is CPU time. Beside a model, a thread of this process runs a small convolutional network in
torch on a core of its own, as a denoiser does, while another thread encodes on the other core:
then it is the clock, and the network's steps a second with and without the encoder beside it. What
sha256 does to the network, which needs Python as little as can be, is there for comparison.
Every picture of every encoder is decoded by Pillow and compared pixel for pixel first.
"""

import argparse
import hashlib
import io
import itertools
import os
import statistics
import threading
import time

import cv2
import imagecodecs
import numpy as np
import torch
from PIL import Image

from benchmarks.machine import cpu_of, interleaved, machine, ratios, span
from benchmarks.pictures import example_pictures, photographs, pink
from seedsweep.workers.images import encode_png

MARK = 20
LEAST_STEPS = 5


def by_pillow(**settings):
    def encode(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png", **settings)
        return file.getvalue()

    return encode


def by_opencv(level, strategy, filters=cv2.IMWRITE_PNG_ALL_FILTERS):
    settings = (cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy)
    settings += (cv2.IMWRITE_PNG_FILTER, filters)

    def encode(pixels):
        turned = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".png", turned, settings)[1].tobytes()

    return encode


def by_imagecodecs(**settings):
    return lambda pixels: imagecodecs.png_encode(pixels, **settings)


DEFAULT = "Pillow, default (level 6)"
ENCODERS = {
    "ours": encode_png,
    DEFAULT: by_pillow(),
    "Pillow, level 1": by_pillow(compress_level=1),
    "OpenCV, level 1": by_opencv(1, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
    "OpenCV, level 3": by_opencv(3, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
    "OpenCV, run lengths": by_opencv(1, cv2.IMWRITE_PNG_STRATEGY_RLE),
    "OpenCV, run lengths, Paeth only": by_opencv(
        1, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER_PAETH
    ),
    "OpenCV, Huffman only": by_opencv(1, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
    "imagecodecs, level 1": by_imagecodecs(level=1),
    "imagecodecs, run lengths, Paeth only": by_imagecodecs(
        level=1, strategy=imagecodecs.PNG.STRATEGY.RLE, filter=imagecodecs.PNG.FILTER.PAETH
    ),
}
BESIDE = {
    "no encoder, sha256": lambda pixels: hashlib.sha256(pixels).digest(),
    **{
        name: ENCODERS[name]
        for name in ("ours", DEFAULT, "Pillow, level 1", "imagecodecs, level 1")
    },
}


def alone(pictures, rounds):
    """Name → milliseconds of CPU an image, one a round; and name → bytes an image."""
    sizes = {name: total_bytes(encode, pictures) for name, encode in ENCODERS.items()}
    calls = {
        name: lambda encode=encode: [encode(pixels) for pixels in pictures]
        for name, encode in ENCODERS.items()
    }
    found = interleaved(calls, rounds, lambda call: cpu_of(call) / len(pictures) * 1000)
    return found, {name: total / len(pictures) for name, total in sizes.items()}


def total_bytes(encode, pictures):
    encoded = [encode(pixels) for pixels in pictures]
    for pixels, png in zip(pictures, encoded, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels)
    return sum(map(len, encoded))


class Model:
    """A small network that a thread runs again and again on a core of its own."""

    def __init__(self, core):
        self._core = core
        layer = [torch.nn.Conv2d(32, 32, 3, padding=1), torch.nn.GroupNorm(8, 32), torch.nn.SiLU()]
        self._network = torch.nn.Sequential(*layer * 8)
        self._latent = torch.zeros(1, 32, 64, 64)
        self.steps = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        os.sched_setaffinity(0, {self._core})  # 0: this thread alone
        with torch.inference_mode():
            while not self._stopped.is_set():
                self._network(self._latent)
                self.steps += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stopped.set()
        self._thread.join()

    def over(self, seconds):
        """A question that is true once so many seconds have passed and the network, which a busy
        machine may leave without a core for that long, has made a few steps."""
        begun, steps = time.perf_counter(), self.steps
        return lambda: time.perf_counter() - begun >= seconds and self.steps - steps >= LEAST_STEPS

    def during(self, call):
        """Steps a second while the call runs, and what it returns."""
        steps, begun = self.steps, time.perf_counter()
        returned = call()
        return (self.steps - steps) / (time.perf_counter() - begun), returned


def encode_until(is_over, encode, pictures):
    """Encode the pictures over and over; milliseconds an image by the clock."""
    begun = time.perf_counter()
    for count, pixels in enumerate(itertools.cycle(pictures)):
        if count and is_over():
            return (time.perf_counter() - begun) / count * 1000
        encode(pixels)


def rest_until(is_over):
    while not is_over():
        time.sleep(0.01)


def beside(pictures, rounds, seconds):
    """Name → (milliseconds an image, network's speed beside ÷ without), one a round."""

    def measure(encode):
        without, _ = model.during(lambda: rest_until(model.over(seconds)))
        with_it, spent = model.during(lambda: encode_until(model.over(seconds), encode, pictures))
        return spent, with_it / without

    ours, *_, models = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {ours})
    with Model(models) as model:
        rest_until(model.over(seconds))  # warm
        return interleaved(BESIDE, rounds, measure)


def main():
    """Print a table for each kind of picture, one beside the network, and the marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement beside")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    packages = ("opencv-python-headless", "pillow", "imagecodecs", "numpy", "torch")
    print(f"{machine(*packages)}; {asked.rounds} rounds; ms an image, median (lowest to highest)")
    sets = {
        "photographs": photographs(14),
        "1/f": pink(6),
        "the example's training pictures, upscaled": example_pictures(10),
    }
    marks = []
    for kind, pictures in sets.items():
        found, sizes = alone(pictures, asked.rounds)
        print(f"\n{len(pictures)} {kind}, alone, every one without loss:\n")
        print(
            "| encoder | CPU ms | ÷ ours | KB | bytes ÷ Pillow's default |\n|---|---|---|---|---|"
        )
        for name, spent in found.items():
            cells = [name, span(spent, 1), span(ratios(spent, found["ours"]))]
            cells += [f"{sizes[name] / 1000:.1f}", f"{sizes[name] / sizes[DEFAULT]:.3f}"]
            print("|", " | ".join(cells), "|")
        marks.append((kind, statistics.median(found["ours"]), sizes["ours"] / sizes[DEFAULT]))
    print("\nThe photographs beside a network in torch:\n")
    print("| encoder | ms by the clock | network's speed ÷ without |\n|---|---|---|")
    for name, measures in beside(sets["photographs"], asked.rounds, asked.seconds).items():
        spent, speeds = zip(*measures, strict=True)
        print(f"| {name} | {span(spent, 1)} | {span(speeds)} |")
    print(f"\nMarks, at most {MARK} ms and the bytes of Pillow's default:")
    for kind, spent, share in marks:
        verdict = "met" if spent <= MARK and share <= 1 else "missed"
        print(f"- {kind}: {verdict}, {spent:.1f} ms and {share:.3f} of the bytes")


if __name__ == "__main__":
    main()
