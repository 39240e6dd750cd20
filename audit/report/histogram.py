"""The distances between one prompt's generations as a histogram.

Pure: numbers in, geometry out; `report_histogram.html` only draws it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.audit.report.axes import Tick, nice_step

WIDTH, HEIGHT = 480.0, 170.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 36.0, 10.0, 22.0, 34.0
_BINS = 36
_SMALLEST_BAR = 1.5


@dataclass(frozen=True, slots=True)
class Bar:
    """The pairs of one bin: `edges` of them are edges (drawn at the foot), `others` are not."""

    x: float
    width: float
    edges: int
    others: int
    edges_height: float
    others_height: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """A drawn-to-scale histogram of the distances of all pairs of `seeds` generations.

    The counts of the bars add up to `pairs`, their edges to `edges`. `threshold` is None if the
    edge threshold is not known; then no pair counts as an edge.
    """

    seeds: int
    pairs: int
    edges: int
    bars: tuple[Bar, ...]
    base: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    threshold: Tick | None
    smallest: float
    largest: float
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP


def bin_distances(
    distances: NDArray[np.float64], edges: NDArray[np.bool_], threshold: float | None
) -> Histogram | None:
    """Lay out the histogram of a symmetric (n, n) matrix of distances and its edges.

    Every pair is counted once, in a bin from 0 to a little beyond the largest distance and the
    threshold; if bins are narrow enough, one ends at the threshold. None if n < 2.
    """
    upper = np.triu_indices(len(distances), 1)
    pairs, joined = distances[upper], edges[upper]
    if not len(pairs):
        return None
    end = 1.05 * max(float(pairs.max()), 1.25 * (threshold or 0.0), 0.01)
    bin_width = _bin_width(end, threshold)
    count = math.ceil(end / bin_width)
    places = np.clip(np.ceil(pairs / bin_width - 1e-9).astype(np.int64) - 1, 0, count - 1)
    in_edges = np.bincount(places[joined], minlength=count)
    in_others = np.bincount(places[~joined], minlength=count)
    scale = (WIDTH - _LEFT - _RIGHT) / (count * bin_width)
    highest = int((in_edges + in_others).max())
    return Histogram(
        seeds=len(distances),
        pairs=len(pairs),
        edges=int(joined.sum()),
        bars=_bars(in_edges.tolist(), in_others.tolist(), bin_width * scale, highest),
        base=HEIGHT - _BOTTOM,
        x_ticks=_x_ticks(count * bin_width, scale),
        y_ticks=_y_ticks(highest),
        threshold=None if threshold is None else Tick(_LEFT + threshold * scale, f"{threshold:g}"),
        smallest=float(pairs.min()),
        largest=float(pairs.max()),
    )


def _bin_width(end: float, threshold: float | None) -> float:
    wanted = end / _BINS
    whole = round((threshold or 0.0) / wanted)
    return threshold / whole if threshold and whole else wanted


def _bars(edges: list[int], others: list[int], width: float, highest: int) -> tuple[Bar, ...]:
    bars = []
    for place, (joined, apart) in enumerate(zip(edges, others, strict=True)):
        if joined or apart:
            bars.append(
                Bar(
                    x=_LEFT + place * width,
                    width=max(width - 1.0, 0.5),
                    edges=joined,
                    others=apart,
                    edges_height=_bar_height(joined, highest),
                    others_height=_bar_height(apart, highest),
                )
            )
    return tuple(bars)


def _bar_height(count: int, highest: int) -> float:
    """To scale, but never invisible if there is something to see."""
    height = count / highest * (HEIGHT - _TOP - _BOTTOM)
    return max(height, _SMALLEST_BAR) if count else 0.0


def _x_ticks(end: float, scale: float) -> tuple[Tick, ...]:
    step = nice_step(end / 5)
    values = [step * k for k in range(int(end / step + 1e-9) + 1)]
    return tuple(Tick(_LEFT + value * scale, f"{value:.6g}") for value in values)


def _y_ticks(highest: int) -> tuple[Tick, ...]:
    step = max(1, round(nice_step(highest / 3)))
    room = HEIGHT - _TOP - _BOTTOM
    return tuple(
        Tick(HEIGHT - _BOTTOM - value / highest * room, f"{value:,}")
        for value in range(0, highest + 1, step)
    )
