"""The parts that a prompt's stored images repeat."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seedsweep.storage.prompt_results import Part, Shift
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.workers.analysis.inner_products import Products
from seedsweep.workers.analysis.moved_pictures import moved
from seedsweep.workers.analysis.part_bounds import PartCandidates, part_candidates
from seedsweep.workers.analysis.part_mask import mask_of
from seedsweep.workers.analysis.part_scales import LaidPictures
from seedsweep.workers.analysis.part_shifts import (
    reduce_pictures,
    reduce_summaries,
    reduction,
)
from seedsweep.workers.analysis.part_stars import find_parts_of
from seedsweep.workers.analysis.parts import FoundPart, same_tiles
from seedsweep.workers.analysis.shifted_parts import ShiftedParts
from seedsweep.workers.analysts.stored_prompt import StoredPrompt
from seedsweep.workers.analysts.summaries import summaries_of


def candidates_of_parts(
    stored: StoredPrompt, usable: Sequence[int], settings: Analysis
) -> PartCandidates:
    """Which of the images at the places `usable` can show a part at a fixed place, and in which
    tiles."""
    sampling, rule = stored.sampling, settings.parts
    if settings.matrix == "full":
        return PartCandidates(np.arange(len(usable)), None)
    with stored.tally.step("prune"):
        summaries = summaries_of(stored, usable)
        return part_candidates(
            summaries, sampling.height, sampling.width, rule, settings.min_clique_size
        )


def parts_of_prompt(
    stored: StoredPrompt,
    usable: Sequence[int],
    settings: Analysis,
    inner: Products,
    candidates: PartCandidates,
    pixels: NDArray[np.uint8],
) -> tuple[tuple[Part, ...], bool]:
    """The parts that repeat in the images at the places `usable`, and whether the search for them
    was not cut short. The candidates, which alone can show one at a fixed place, have `pixels`;
    those of others are read if parts may be anywhere, and they seem to show one."""
    rule, size = settings.parts, settings.min_clique_size
    if len(candidates.images) < size and not (rule.anywhere and len(usable) >= size):
        return (), True
    if rule.anywhere:
        with stored.tally.step("compare"):
            same = same_tiles(pixels, rule, inner, candidates.pairs)
        return _parts_anywhere(stored, usable, settings, candidates, same, pixels)
    with stored.tally.step("compare"):
        found = find_parts_of(pixels, rule, size, settings.max_steps, candidates.pairs, inner)
    seeds = [stored.images[usable[place]].seed for place in candidates.images.tolist()]
    parts = [
        _of_area(_part(each, (), seeds), mask_of(pixels, each.tiles, rule, each.members))
        for each in found.parts
    ]
    return tuple(parts), found.proven


def _parts_anywhere(
    stored: StoredPrompt,
    usable: Sequence[int],
    settings: Analysis,
    candidates: PartCandidates,
    same: NDArray[np.bool_],
    pixels: NDArray[np.uint8],
) -> tuple[tuple[Part, ...], bool]:
    rule, count = settings.parts, len(usable)
    height, width = stored.sampling.height, stored.sampling.width
    fixed = np.zeros((len(same), count, count), np.bool_)
    fixed[:, candidates.images[:, None], candidates.images[None, :]] = same

    decoded = {place: row for row, place in enumerate(candidates.images.tolist())}

    def read(places: Sequence[int]) -> NDArray[np.uint8]:
        if all(place in decoded for place in places):
            return pixels[[decoded[place] for place in places]]
        return stored.pixels([usable[place] for place in places])

    reduced = reduce_summaries(summaries_of(stored, usable), height, width)
    if reduced is None:
        reduced = reduce_pictures(read(range(count)))
    with stored.tally.step("compare"):
        pictures = LaidPictures(reduced, rule, reduction(height, width))
        search = ShiftedParts(fixed, pictures, read, rule)
    found, proven = search.find(settings.min_clique_size, settings.max_steps)
    seeds = [stored.images[place].seed for place in usable]
    parts = []
    for each in found:
        part = _part(each, search.shifts(each), seeds)
        laid = laid_alike(part, read(each.members))
        parts.append(_of_area(part, mask_of(laid, each.tiles, rule)))
    return tuple(parts), proven


def _part(found: FoundPart, shifts: tuple[Shift, ...], seeds: Sequence[int]) -> Part:
    """As it is stored, but for its share of the area."""
    return Part(
        seeds=tuple(seeds[image] for image in found.shared),
        whole_seeds=tuple(seeds[image] for image in found.members),
        tiles=found.tiles,
        share=0.0,
        representative_seed=seeds[found.centre],
        shifts=shifts,
    )


def _of_area(part: Part, mask: NDArray[np.bool_]) -> Part:
    return part.model_copy(update={"share": float(mask.mean())})


def laid_alike(part: Part, members: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pictures of the part's `whole_seeds` (n, height, width, 3), each moved so that it shows
    the part where the representative does."""
    if not part.shifts:
        return members
    shifts = [part.shift(seed) for seed in part.whole_seeds]
    return np.stack([moved(each, how) for each, how in zip(members, shifts, strict=True)])
