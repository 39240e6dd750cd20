"""Scores of a prompt from a few of its pictures alone: pure functions on pixels.

They need nothing from inside the model, but whole pictures: for k pictures of n steps with guidance
2kn passes of the network, which are no loss if the pictures are wanted anyway. The higher a score,
the likelier the prompt is memorised.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import sobel

from seedsweep.workers.analysis.distances import tiled_distances

EDGE_SIDE, EDGE_SLOPE, EDGE_SHARE = 256, 1.5, 0.5
"""Of `edge_consistency`, as in Webster's code: the side that pictures are scaled to, how steep an
edge is at least, and in more than which share of the pictures a pixel has to be one."""


def closest_pair(pixels: NDArray[np.uint8], tiles: int) -> float:
    """The tiled l2 of the two pictures nearest to each other, less than zero: -min over the pairs.

    `pixels` (k, height, width, 3); `tiles` as in `[analysis]`. From -1, for pictures that have
    nothing in common, to 0. One repeat among the k is enough. With fewer than two pictures it is
    -1. Carlini et al. 2023 (arXiv 2301.13188), section 4.2, call such a pair an edge.
    """
    if len(pixels) < 2:
        return -1.0
    distances = tiled_distances(pixels, tiles)
    return -float(distances[np.triu_indices(len(pixels), 1)].min())


def edge_consistency(pixels: NDArray[np.uint8]) -> float:
    """The share of pixels that are an edge in more than half of the pictures, from 0 to 1.

    `pixels` (k, height, width, 3), at least one picture. A pixel is an edge if the lengths of its
    Sobel gradients, added up over the three channels in [0, 1], are above `EDGE_SLOPE`; the filter
    smooths over the channels as well, as scipy's does of three axes. Pictures are first scaled to
    `EDGE_SIDE` pixels a side (Lanczos).

    Webster 2023, "A Reproducible Extraction of Training Images from Diffusion Models" (arXiv
    2305.08694), the black-box attack's edge score, as its code has it. He takes four pictures made
    in one step each, in which only what is memorised has edges; of pictures that are whole, as
    here, what tells is that the edges are in one place.
    """
    return float((np.mean([_edges(each) for each in pixels], axis=0) > EDGE_SHARE).mean())


def _edges(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    scaled = Image.fromarray(pixels).resize((EDGE_SIDE, EDGE_SIDE), Image.Resampling.LANCZOS)
    values = np.asarray(scaled, np.float64) / 255
    steepness = np.hypot(sobel(values, axis=0), sobel(values, axis=1)).sum(axis=2)
    return np.asarray(steepness > EDGE_SLOPE)
