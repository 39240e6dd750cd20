"""What to know before believing a comparison of two campaigns."""

from collections import Counter
from collections.abc import Sequence

from seedsweep.audit.findings.comparability import Arm, setting_words
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.settings.campaign import Campaign

CAVEAT = (
    "One model stands on each side, the outcome of one training run: the intervals and p say how "
    "far other prompts could have told another story, taken as independent of one another. They "
    "say nothing of how far another training run of the same recipe would differ."
)
SAME_MODEL = (
    "The same model stands on both sides, so what differs comes from the settings. The intervals "
    "and p say how far other prompts could have told another story, taken as independent of one "
    "another."
)
SIZES = (
    "A prompt that is not flagged counts as a clique of 0, since smaller cliques are not looked "
    "for."
)

Pair = tuple[PromptResult, PromptResult]
"""What two campaigns say of one prompt."""


def comparison_notes(
    a: Arm, b: Arm, pairs: Sequence[Pair], verified: bool, same_set: bool
) -> tuple[str, ...]:
    """What to know before believing what was compared, in sentences. `verified`: both have a
    training set; `same_set`: it is one set."""
    unflagged = _unflagged(pairs)
    one, other = (arm.submission.campaign.model.fingerprint for arm in (a, b))
    notes = [SAME_MODEL if one and one == other else CAVEAT, SIZES]
    campaigns = a.submission.campaign, b.submission.campaign
    notes += setting_words(*campaigns, [(x.settings, y.settings) for x, y in pairs])
    same = _same_recipes(*campaigns, pairs)
    if 0 < same < len(pairs):
        notes.append(
            f"Prompts have settings of their own: {same:,} of {len(pairs):,} have one recipe in "
            "both, so their images are the same."
        )
    elif same == len(pairs):
        notes.append("Both have the same recipe, so images of a prompt and seed are the same.")
    if verified and not same_set:
        notes.append(
            "They are compared with different training sets, so extractions may differ for that "
            "reason alone, and pictures of one are not sought in the other."
        )
    if not verified:
        notes.append("Extractions are not examined, since not both have a training set.")
    elif len(unflagged) == 2:
        notes.append("Extractions are not examined: nothing is flagged, so nothing was compared.")
    elif unflagged:
        notes.append(
            f"In {unflagged[0]} nothing is flagged, so nothing was compared with training "
            "pictures: B - A takes its prompts as not extracted."
        )
    return tuple(notes)


def _same_recipes(a: Campaign, b: Campaign, pairs: Sequence[Pair]) -> int:
    """How many of the pairs were made with one recipe."""
    settings = [[pair[side].settings for pair in pairs] for side in (0, 1)]
    recipes = Counter(
        (one and one.recipe, other and other.recipe) for one, other in zip(*settings, strict=True)
    )
    return sum(
        count
        for (one, other), count in recipes.items()
        if a.of(one).generation_id == b.of(other).generation_id
    )


def _unflagged(pairs: Sequence[Pair]) -> list[str]:
    """In which of the campaigns nothing is flagged."""
    flagged = (any(pair[side].flagged for pair in pairs) for side in (0, 1))
    return [name for name, any_is in zip("AB", flagged, strict=True) if not any_is]
