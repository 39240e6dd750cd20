"""What analysing one prompt takes: counted where it is done, sent back with the result."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from seedsweep.storage.observed_store import StoreRequest

AnalysisStep = Literal["read", "prune", "decode", "compare", "clique", "match"]


@dataclass(frozen=True, slots=True)
class Effort:
    """The cost of one prompt's analysis, with what was in vain.

    `images`: how many were judged; `decoded`: pictures decoded; `pairs`: of judged images, and
    `candidate_pairs` those of them that were not pruned, so all of the full matrix; `steps`: each
    step that was taken, and its seconds, which no two steps share; `requests`: all to the store.
    """

    images: int
    decoded: int
    pairs: int
    candidate_pairs: int
    steps: tuple[tuple[AnalysisStep, float], ...]
    requests: tuple[StoreRequest, ...]


@dataclass(slots=True)
class Tally:
    """Counts an effort while it is made, in one thread."""

    images: int = 0
    decoded: int = 0
    pairs: int = 0
    candidate_pairs: int = 0
    _seconds: dict[AnalysisStep, float] = field(default_factory=dict)
    _step: AnalysisStep | None = None
    _since: float = 0.0

    @contextlib.contextmanager
    def step(self, step: AnalysisStep) -> Iterator[None]:
        """The block's time is the step's, but for the time of steps within it."""
        outer = self._step
        self._turn_to(step)
        try:
            yield
        finally:
            self._turn_to(outer)

    def judge(self, images: int, candidate_pairs: int) -> None:
        """Count images of one prompt, and how many pairs of them were not pruned."""
        self.images += images
        self.pairs += images * (images - 1) // 2
        self.candidate_pairs += candidate_pairs

    def effort(self, requests: Iterable[StoreRequest]) -> Effort:
        """What was counted so far, and these requests."""
        steps, made = tuple(self._seconds.items()), tuple(requests)
        return Effort(self.images, self.decoded, self.pairs, self.candidate_pairs, steps, made)

    def _turn_to(self, step: AnalysisStep | None) -> None:
        now = time.perf_counter()
        if self._step is not None:
            before = self._seconds.get(self._step, 0.0)
            self._seconds[self._step] = before + now - self._since
        self._step, self._since = step, now
