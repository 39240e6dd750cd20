"""The descriptors of a prompt's stored images, in blocks of one kind."""

from collections import Counter
from collections.abc import Sequence

from seedsweep.storage.settings.sampling import DEFAULT_BLOCKS
from seedsweep.workers.analysis.descriptors import Summaries, describe, summarise
from seedsweep.workers.analysts.stored_prompt import StoredPrompt


def summaries_of(stored: StoredPrompt, usable: Sequence[int]) -> Summaries:
    """Those of the images at the places `usable`, all in the blocks that most were described with;
    the others are described anew."""
    images = [stored.images[place] for place in usable]
    kinds = Counter(image.blocks for image in images)
    blocks = kinds.most_common(1)[0][0] if kinds else DEFAULT_BLOCKS
    descriptors = [
        image.descriptor if image.blocks == blocks else describe(stored.pixels([place])[0], blocks)
        for place, image in zip(usable, images, strict=True)
    ]
    return summarise(descriptors, stored.sampling.height, stored.sampling.width, blocks)
