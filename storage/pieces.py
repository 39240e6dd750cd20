"""The units that each prompt of a campaign has: its screens first, then the cuts of its seeds.

All prompts have the same: unit `index` is piece `index % len(pieces)` of prompt
`index // len(pieces)`. Without screens the pieces are the cuts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from seedsweep.storage import keys
from seedsweep.storage.receipts import is_done
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import KindName, Parked, Submission
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import PromptSettings
from seedsweep.storage.store import Store


@dataclass(frozen=True, slots=True)
class Piece:
    """One of a prompt's units: of which kind, of which seeds, and how many images it makes.

    `kind_id` names what alters its shard, if it makes no images.
    """

    seeds: SeedRange
    images: int
    kind: KindName = "generate"
    kind_id: str = ""


def pieces_of(campaign: Campaign, cuts: Sequence[SeedRange]) -> tuple[Piece, ...]:
    """The pieces of each prompt, in the order of its units."""
    screens = (
        Piece(
            SeedRange(first=screen.first_seed, last=screen.first_seed + screen.seeds - 1),
            0,
            "screen",
            campaign.screen_id(screen),
        )
        for screen in campaign.screens
    )
    return (*screens, *(Piece(cut, len(cut)) for cut in cuts))


def is_made(
    store: Store,
    submission: Submission,
    parked: Parked,
    settings: Sequence[PromptSettings] = (),
) -> bool:
    """Whether a unit that was given up is done after all, by this campaign or another.

    `settings`: those that the prompts have of their own, in their order, none if none has any.
    """
    pieces = pieces_of(submission.campaign, submission.cuts)
    prompt, place = divmod(parked.index, len(pieces))
    piece, campaign = pieces[place], submission.campaign.of(settings[prompt] if settings else None)
    if piece.kind == "screen":
        return store.exists(keys.scores(piece.kind_id, parked.prompt_id, piece.seeds))
    return is_done(store, campaign, parked.prompt_id, parked.seeds)
