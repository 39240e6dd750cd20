"""What looking for parts at other scales could find at most, and what it costs.

    .venv/bin/python -m benchmarks.part_scales [--prompts 10] [--side 64]

Pictures as of `benchmarks.part_shifts`: 12 show one square, each scaled by up to so much either
way, and two show none. Each picture is also resampled about its middle by 8 scales, from 0.92 to
1.08, and laid on each of the first four at every shift of up to 2 % of the side, by all pixels: no
search of scales that asks fewer of them finds more. Found: a part with 8 pictures grows around
one of the four. `nothing` has no square: all that is found there is false. Seconds are of CPU, for
four centres, with all 8 scales.
"""

import argparse

import cv2
import numpy as np

from benchmarks.machine import cpu_seconds, machine
from benchmarks.part_shifts import SHOWING, SIZE, planted
from seedsweep.audit.findings.intervals import rate
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.workers.analysis.distances import tile_grid
from seedsweep.workers.analysis.part_shifts import same_regions, shifts_of, window_of
from seedsweep.workers.analysis.parts import part_around

RULE, CENTRES, WITHOUT = PartRule(shift=0.02), 4, 2
WAYS = {
    "shift": (1,),
    "4 scales": (1, 0.92, 0.96, 1.04, 1.08),
    "8 scales": (1, 0.92, 0.94, 0.96, 0.98, 1.02, 1.04, 1.06, 1.08),
}


def scaled(picture, scale):
    """The picture enlarged about its middle, of the same size."""
    height, width = picture.shape[:2]
    middle = (np.array([width, height]) - 1) / 2 * (1 - 1 / scale)
    way = np.array([[1 / scale, 0, middle[0]], [0, 1 / scale, middle[1]]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, way, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)


def same_at(pictures, centre, scale):
    """In which tiles (tiles, n) of the centre each picture is the same at its best shift."""
    size = pictures.shape[1:3]
    others = np.stack([scaled(each, scale) for each in pictures]) if scale != 1 else pictures
    best = np.zeros((RULE.grid**2, len(pictures)), np.bool_)
    for shift in shifts_of(RULE, *size):
        found = np.zeros_like(best)
        for place, tile in enumerate(tile_grid(*size, RULE.grid)):
            if window := window_of(tile, shift, *size):
                mine = pictures[centre][None, *tile].repeat(len(pictures), axis=0)
                found[place] = same_regions(mine, others[:, *window], RULE)
        best = _better(best, found)
    return best


def _better(one, other):
    more = np.count_nonzero(other, axis=0) > np.count_nonzero(one, axis=0)
    return np.where(more, other, one)


def found_in(pictures):
    """By way whether a part grows around one of the first pictures."""
    found = dict.fromkeys(WAYS, False)
    for centre in range(CENTRES):
        at = {scale: same_at(pictures, centre, scale) for scale in WAYS["8 scales"]}
        for way, scales in WAYS.items():
            near = at[1].copy()
            for scale in scales[1:]:
                near = _better(near, at[scale])
            near[:, centre] = False
            everybody = np.ones(len(pictures), np.bool_)
            found[way] |= part_around(near, everybody, centre, SIZE, RULE.least) is not None
    return found


def main(prompts, side):
    print(machine("numpy", "opencv-python-headless"), end="\n\n")
    print(f"| the part is, {side} px | {' | '.join(WAYS)} | s a prompt |\n|---|{'---|' * 4}")
    for scale in (0.02, 0.04, 0.08, None):
        counts, begun = dict.fromkeys(WAYS, 0), cpu_seconds()
        for number in range(prompts):
            made = planted(number, side, 0, scale or 0, False)
            some = slice(0, SHOWING + WITHOUT) if scale else slice(SHOWING, None)
            for way, is_found in found_in(made[some][: SHOWING + WITHOUT]).items():
                counts[way] += is_found
        name = f"scaled by up to {100 * scale:g} %" if scale else "nothing"
        rates = " | ".join(str(rate(count, prompts)) for count in counts.values())
        print(f"| {name} | {rates} | {(cpu_seconds() - begun) / prompts:.1f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=10)
    parser.add_argument("--side", type=int, default=64)
    main(**vars(parser.parse_args()))
