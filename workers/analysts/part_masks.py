"""The masks of a prompt's parts, as PNG beside the results."""

import cv2
import numpy as np

from seedsweep.storage import keys
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.settings.analysis import PartRule
from seedsweep.storage.store import Store
from seedsweep.workers.analysis.part_mask import mask_of
from seedsweep.workers.analysts.prompt_parts import laid_alike
from seedsweep.workers.analysts.stored_prompt import StoredPrompt


def store_masks(
    store: Store, whose: tuple[str, str], stored: StoredPrompt, result: PromptResult, rule: PartRule
) -> None:
    """Store the mask of each part of the result, which is that of `stored`, in place of an earlier
    one: 255 where the representative has the part, else 0. `whose` are the ids of the analysis and
    of the campaign.

    Raises `BrokenShardError` if a picture that shows a part cannot be had any more.
    """
    places = {image.seed: place for place, image in enumerate(stored.images)}
    for number, part in enumerate(result.parts):
        members = stored.pixels([places[seed] for seed in part.whole_seeds])
        mask = mask_of(laid_alike(part, members), part.tiles, rule).astype(np.uint8) * 255
        _, png = cv2.imencode(".png", mask)
        store.replace(keys.mask(*whose, result.prompt_id, number), png.tobytes())
