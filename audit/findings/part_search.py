"""The parts that a campaign's prompts repeat, looked for in training pictures and elsewhere."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.errors import PermanentError, ShardCorruptError
from seedsweep.storage.prompt_results import Part, PromptResult, Shift
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import PartRule, Verification
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import PartMatch, UnverifiedClique, VerifiedPart
from seedsweep.workers.analysis.moved_pictures import WHOLE, moved_back
from seedsweep.workers.analysis.part_mask import mask_of
from seedsweep.workers.analysis.part_matching import (
    MaskedPicture,
    PartReference,
    shown_either_way,
)
from seedsweep.workers.analysts.prompt_parts import laid_alike
from seedsweep.workers.analysts.stored_prompt import read_prompt
from seedsweep.workers.training.matched import MatchedPart

Pixels = NDArray[np.uint8]

ELSEWHERE = 200
"""A part is looked for in so many pictures of other parts at most, spread over all of them: what is
common is in many."""

NAMED = 8
"""Of so many training pictures that show a part, beside the nearest, the ids are kept."""

WAYS = 16
"""A part that is not always at one place is looked for at so many others at most."""

_BLOCK_BYTES = 1 << 24
"""So many bytes of pictures are compared at once, which takes eight times as much."""

_WORD = re.compile(r"\w{4,}")
_EVERYWHERE = frozenset({"with", "from", "this", "that", "over", "into", "your"})
"""Words of four letters that say nothing of what a picture shows."""


@dataclass(frozen=True, slots=True, eq=False)
class RepeatedPart:
    """A part of a prompt's result, and the picture of it: of each pixel the median over the
    generations that show all of the part, the lower one of two."""

    result: PromptResult
    part: Part
    picture: MaskedPicture


def showing_rule(rule: PartRule, settings: Verification) -> PartRule:
    """When a picture shows a part: it correlates as tiles have to that are the same, and is within
    the l2 of an extraction. What generations share is nearer: a model smooths what it repeats."""
    return rule.model_copy(update={"distance": settings.threshold})


def read_parts(
    store: Store, submission: Submission, results: Iterable[PromptResult], rule: PartRule
) -> tuple[list[RepeatedPart], list[UnverifiedClique]]:
    """The parts of the results whose pictures could be read, and the others, with the reason."""
    known: list[RepeatedPart] = []
    unknown: list[UnverifiedClique] = []
    for result in results:
        for part in result.parts:
            try:
                picture = _picture(store, submission, result, part, rule)
                known.append(RepeatedPart(result, part, picture))
            except PermanentError as error:
                unknown.append(
                    UnverifiedClique(
                        prompt_id=result.prompt_id,
                        prompt=result.prompt,
                        seed=part.representative_seed,
                        reason=str(error),
                    )
                )
    return known, unknown


def judge_parts(
    parts: Sequence[RepeatedPart],
    matched_parts: Sequence[MatchedPart],
    controls: Sequence[Pixels],
    rule: PartRule,
    flip: bool,
) -> tuple[VerifiedPart, ...]:
    """What each part matches, and where else it is shown, by this rule: in pictures of other parts,
    of unrelated prompts, `ELSEWHERE` at most, and in control pictures, if there are any."""
    return tuple(
        VerifiedPart(
            prompt_id=repeated.result.prompt_id,
            prompt=repeated.result.prompt,
            part_id=repeated.part.part_id,
            share=repeated.part.share,
            match=_match(repeated, found, parts, controls, rule, flip),
        )
        for repeated, found in zip(parts, matched_parts, strict=True)
    )


def are_unrelated(prompt: str, caption: str | None) -> bool:
    """Whether both have words of four letters or more, and none in common."""
    mine, other = _words(prompt), _words(caption or "")
    return bool(mine) and bool(other) and not mine & other


def _words(text: str) -> set[str]:
    return {*_WORD.findall(text.casefold())} - _EVERYWHERE


def _picture(
    store: Store, submission: Submission, result: PromptResult, part: Part, rule: PartRule
) -> MaskedPicture:
    stored = read_prompt(store, submission.of(result.settings), result.prompt)
    places = {image.seed: place for place, image in enumerate(stored.images)}
    missing = [seed for seed in part.whole_seeds if seed not in places]
    if missing:
        raise ShardCorruptError(f"The image of seed {missing[0]} is not in the store.")
    members = laid_alike(part, stored.pixels([places[seed] for seed in part.whole_seeds]))
    mask = mask_of(members, part.tiles, rule)
    if not mask.any():
        raise ShardCorruptError(
            f"No pixel of the part is the same in all pictures that show it, at a spread of "
            f"{rule.spread:g}."
        )
    return masked_picture(part, members, mask)


def masked_picture(
    part: Part, members: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> MaskedPicture:
    """The part as it is looked for: the middle of the pictures that show all of it, laid alike."""
    middle = np.sort(members, axis=0)[(len(members) - 1) // 2]
    shifts = [shift for shift in _usual(part) if moved_back(mask, shift).any()]
    return MaskedPicture(middle, mask, tuple(shifts))


def _usual(part: Part) -> tuple[Shift, ...]:
    """Where most generations that show all of the part show it, other than the representative. If
    some show it larger or smaller, hardly two do alike: such as are spread over all their sizes."""
    met = Counter(part.shift(seed) for seed in part.whole_seeds)
    del met[Shift()]
    shifts = sorted(met, key=lambda s: (-met[s], _size(s), s.down, s.right, s.mirrored))
    if len(shifts) > WAYS and any(shift.scaling for shift in shifts):
        shifts.sort(key=_size)
        shifts = [shifts[place * (len(shifts) - 1) // (WAYS - 1)] for place in range(WAYS)]
    return tuple(shifts[:WAYS])


def _size(shift: Shift) -> int:
    return shift.scaling.thousandths if shift.scaling else WHOLE


def _match(
    repeated: RepeatedPart,
    found: MatchedPart,
    parts: Sequence[RepeatedPart],
    controls: Sequence[Pixels],
    rule: PartRule,
    flip: bool,
) -> PartMatch:
    prompt, picture = repeated.result.prompt, repeated.picture
    references = [PartReference(picture.at(way), rule) for way in picture.ways(flip)]
    others = [other for other in parts if are_unrelated(prompt, other.result.prompt)]
    some = others[:: -(-len(others) // ELSEWHERE) or 1]
    elsewhere, _ = count_showing(references, [other.picture.pixels for other in some])
    shown, nearest = count_showing(references, controls)
    names = (each.name for each in found.showing)
    return PartMatch(
        training_id=found.nearest.name,
        shift=found.shift,
        caption=found.nearest.caption,
        l2=found.l2,
        correlation=found.correlation,
        copies=found.copies,
        unrelated=sum(are_unrelated(prompt, shown.caption) for shown in found.showing),
        elsewhere=elsewhere,
        controls=shown if controls else None,
        control_l2=references[0].l2_of(nearest) if controls else None,
        showing=tuple(name for name in names if name != found.nearest.name)[:NAMED],
    )


def count_showing(
    references: Sequence[PartReference], pictures: Sequence[Pixels]
) -> tuple[int, float]:
    """How many of the pictures show the part, and the squared distance of the nearest."""
    count, nearest = 0, math.inf
    block = max(1, _BLOCK_BYTES // pictures[0].nbytes) if pictures else 1
    for first in range(0, len(pictures), block):
        shown = shown_either_way(references, np.stack(pictures[first : first + block]))
        count += int(np.count_nonzero(shown.same))
        nearest = min(nearest, float(shown.squared.min()))
    return count, nearest
