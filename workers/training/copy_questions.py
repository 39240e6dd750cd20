"""Which of very many pairs of training pictures are near-copies: asked of actors, a few at a time.

First it is asked which may be, of a few numbers of each picture, and then of those alone by their
pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.settings.analysis import NearCopies
from seedsweep.workers.analysis.cuts import CutSummary, centres
from seedsweep.workers.analysis.frames import Frames
from seedsweep.workers.analysis.near_copies import Reference, fit_unmoved

Places = NDArray[np.intp]

FIRSTS, OTHERS = 32, 1024
"""Of so many pictures the copies are asked for at once, or among so many others."""


@dataclass(frozen=True, slots=True, eq=False)
class CopyQuestion:
    """Which of `others` (M, 64, 64, 3), up to each of `ends`, are near-copies of the picture of
    `firsts` (F, 64, 64, 3) at its place."""

    number: int
    firsts: Frames
    others: Frames
    ends: tuple[int, ...]
    rule: NearCopies
    flip: bool


@dataclass(frozen=True, slots=True, eq=False)
class PossibleQuestion:
    """Which pictures, of the `others` that each picture of `firsts` (F, 64, 64, 3) has by their
    rows in a summary, or of all that are in it, may be near-copies of it."""

    number: int
    firsts: Frames
    others: tuple[Places, ...] | None
    rule: NearCopies
    flip: bool


def judge_copies(question: CopyQuestion) -> list[NDArray[np.bool_]]:
    """Of each first picture, which of its others are near-copies of it."""
    firsts, known, begin, answers = centres(question.firsts), centres(question.others), 0, []
    for place, end in enumerate(question.ends):
        others = np.arange(begin, end)
        first, rule = firsts.of(np.array([place])), question.rule
        is_copy = fit_unmoved(first, known.of(others), rule)[0]
        if not is_copy.all():
            reference = Reference(question.firsts[place], rule, question.flip)
            is_copy[~is_copy] = reference.copies(known, others[~is_copy])
        answers.append(is_copy)
        begin = end
    return answers


def possible_copies(question: PossibleQuestion, summary: CutSummary) -> list[Places]:
    """Of each first picture those of its others that may be near-copies of it; all that are, are
    among them."""
    among = question.others or [None] * len(question.firsts)
    return [
        Reference(first, question.rule, question.flip).possible(summary, others)
        for first, others in zip(question.firsts, among, strict=True)
    ]


def copy_questions(
    frames: Frames, jobs: Sequence[tuple[int, Places]], rule: NearCopies, flip: bool
) -> Iterator[CopyQuestion]:
    """The questions of which pictures, by their place in `frames`, are near-copies of the first of
    their job."""
    parts = [
        (first, others[at : at + OTHERS])
        for first, others in jobs
        for at in range(0, len(others), OTHERS)
    ]
    number, at = 0, 0
    while at < len(parts):
        end, count = at, 0
        while end < len(parts) and end - at < FIRSTS:
            count += len(parts[end][1])
            if end > at and count > OTHERS:
                break
            end += 1
        some = parts[at:end]
        yield CopyQuestion(
            number,
            frames[[first for first, _ in some]],
            frames[np.concatenate([others for _, others in some])],
            tuple(np.cumsum([len(others) for _, others in some]).tolist()),
            rule,
            flip,
        )
        number, at = number + 1, end


def copy_answers(
    jobs: Sequence[tuple[int, Places]], answers: dict[int, list[NDArray[np.bool_]]]
) -> list[NDArray[np.bool_]]:
    """The answers by the number of their question, as those of the jobs."""
    parts = [part for number in sorted(answers) for part in answers[number]]
    # A job of many others is several parts.
    whole, at = [], 0
    for _, others in jobs:
        count = -(-len(others) // OTHERS)
        whole.append(np.concatenate(parts[at : at + count]))
        at += count
    return whole
