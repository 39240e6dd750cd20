"""What a campaign asks for that cannot be had, or would alter nothing: refused on submission.

Each raises `ConfigError` with one sentence; what a prompt has of its own is named with its place.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, islice

from seedsweep.scheduler.prompt_lists.prompt_files import ListedPrompt
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.analysis import Analysis, PartRule
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import PromptSettings, Sampling
from seedsweep.workers.analysis.distances import tile_grid, tile_values
from seedsweep.workers.analysis.parts import TILE_PIXELS
from seedsweep.workers.models.picture_size import check_size
from seedsweep.workers.pipelines.negative_prompt import why_no_negative_prompt

TORCH_SEEDS = 1 << 32
"""Torch's generator on the CPU, a Mersenne Twister, takes 32 bits of a seed."""

PAIRS_IN_TILES = 1 << 28
"""Of a prompt; the search for parts holds a byte for each, 256 MB, and four if parts may be
anywhere."""


def with_possible_settings(
    campaign: Campaign, listed: Iterable[ListedPrompt], rows: RowCounts
) -> list[ListedPrompt]:
    """The prompts, whose own settings must be possible as those of [sampling] must; each that lists
    seeds with as many as `sampling.seeds`. `rows` counts what was added."""
    prompts, known, columns = [], set[PromptSettings](), campaign.own_columns.named
    for prompt in listed:
        try:
            own = _with_enough_seeds(campaign, prompt.settings, rows)
            if own and own not in known:
                require_sampling(campaign.of(own), columns)
                known.add(own)
        except ConfigError as error:
            raise ConfigError(f"{prompt.where}: {error}") from error
        prompts.append(prompt._replace(settings=own))
    return prompts


def _with_enough_seeds(
    campaign: Campaign, settings: PromptSettings | None, rows: RowCounts
) -> PromptSettings | None:
    """A shorter list is filled up: by the campaign's seeds, from its first on, that are not in
    it."""
    if settings is None or settings.seeds is None:
        return settings
    wanted, first, listed = campaign.sampling.seeds, campaign.sampling.first_seed, settings.seeds
    if len(listed) > wanted:
        raise ConfigError(
            f"the column {campaign.own_columns.seeds!r} lists {count_words(len(listed), 'seed')}, "
            f"and each prompt has sampling.seeds = {wanted:,} of them; raise that to the number of "
            "the longest list: shorter ones are filled up with other seeds."
        )
    lacking = wanted - len(listed)
    if not lacking:
        return settings
    known = set(listed)
    added = tuple(islice((seed for seed in count(first) if seed not in known), lacking))
    rows.filled, rows.added = rows.filled + 1, rows.added + lacking
    seeds = tuple(sorted([*listed, *added]))
    return settings.model_copy(update={"seeds": seeds, "added": added})


def check_sizes(campaign: Campaign, listed: Iterable[ListedPrompt]) -> None:
    """Refuse prompts of a size that the model cannot make."""
    known = {(campaign.sampling.width, campaign.sampling.height)}
    for prompt in listed:
        sampling = campaign.of(prompt.settings).sampling
        if (size := (sampling.width, sampling.height)) not in known:
            try:
                check_size(campaign.model, sampling)
            except ConfigError as error:
                raise ConfigError(f"{prompt.where}: {error}") from error
            known.add(size)


def check_negative_prompts(campaign: Campaign, listed: Iterable[ListedPrompt]) -> None:
    """Refuse a negative prompt that the model cannot be given, or does not use."""
    reason = why_no_negative_prompt(campaign.model)
    if not reason:
        return
    for prompt in listed:
        if not campaign.of(prompt.settings).sampling.negative_prompt:
            continue
        own = prompt.settings.negative_prompt if prompt.settings else None
        where = f"{prompt.where}: " if own else ""
        column = campaign.own_columns.negative_prompt
        raise ConfigError(
            f"{where}the model {campaign.model.path} cannot be given a negative prompt: {reason}; "
            f"leave out {f'the column {column!r}' if own else 'sampling.negative_prompt'}."
        )


def require_tokens(
    campaign: Campaign, prompts: Sequence[str], settings: Sequence[PromptSettings]
) -> None:
    """Refuse an embedding whose token stands nowhere, since it would alter nothing."""
    model = campaign.model
    texts = {campaign.sampling.negative_prompt, *(own.negative_prompt or "" for own in settings)}
    texts |= {model.given(prompt) for prompt in prompts} if model.embeddings else set()
    for one in model.embeddings:
        if not any(one.token in text for text in texts):
            raise ConfigError(
                f"No prompt has the token {one.token!r} of model.embeddings, so it would alter "
                "nothing; write it in the prompts, a trigger or sampling.negative_prompt."
            )


def require_sampling(campaign: Campaign, columns: Mapping[str, str]) -> None:
    """Refuse what no prompt can be made with, or what would alter nothing.

    The campaign is as a prompt has it, whose own settings are from these `columns`; without them it
    is as its file says, which need not hold for settings that each prompt has of its own.
    """
    sampling, own = campaign.sampling, campaign.own_columns.named.keys() - columns.keys()
    seeds, negative, guidance = (
        f"the column {columns[name]!r}" if name in columns else f"sampling.{name}"
        for name in ("first_seed", "negative_prompt", "guidance_scale")
    )
    first = f"those of the column {columns['seeds']!r}" if "seeds" in columns else seeds
    if campaign.seeds[-1] >= 2**63:
        raise ConfigError(f"the seeds pass 2**63; lower {first}.")
    if campaign.model.pipeline == "diffusers" and campaign.seeds[-1] >= TORCH_SEEDS:
        raise ConfigError(
            "the seeds pass 2**32, and torch makes equal noise of seeds that are so far apart, so "
            f"that the pictures would be those of other seeds; lower {first}."
        )
    if not own & {"width", "height"}:
        require_possible(campaign.analysis, sampling)
    if own & {"negative_prompt", "guidance_scale"}:
        return
    if sampling.negative_prompt and sampling.guidance_scale <= 1:
        raise ConfigError(
            f"{negative} does nothing without guidance; remove it, or raise {guidance} above 1."
        )


def samplings(campaign: Campaign, settings: Iterable[PromptSettings]) -> list[Sampling]:
    """The sampling of the campaign, or one for each size that its prompts have of their own."""
    sizes = {(own.width, own.height): own for own in settings}
    return [campaign.of(own).sampling for own in sizes.values()] or [campaign.sampling]


def require_possible(analysis: Analysis, sampling: Sampling) -> None:
    """Refuse a clique size that no prompt can reach, since nothing could ever be flagged, and a
    search for parts that could find none or is too large."""
    if analysis.min_clique_size > sampling.seeds:
        raise ConfigError(
            f"analysis.min_clique_size = {analysis.min_clique_size} is more than the "
            f"{sampling.seeds} seeds of each prompt, so nothing could be flagged; lower it, or "
            "raise sampling.seeds."
        )
    if analysis.partial:
        _require_parts(analysis.parts, sampling)


def _require_parts(rule: PartRule, sampling: Sampling) -> None:
    tiles = tile_grid(sampling.height, sampling.width, rule.grid)
    if rule.least > len(tiles):
        raise ConfigError(
            f"analysis.parts.least = {rule.least} is more than the {len(tiles)} tiles of a "
            "picture, so no part could be found; lower it, or raise analysis.parts.grid."
        )
    if max(map(tile_values, tiles)) > 3 * TILE_PIXELS:
        raise ConfigError(
            f"analysis.parts.grid = {rule.grid} makes tiles of more than {TILE_PIXELS:,} pixels, "
            "which are not compared exactly; raise it."
        )
    most = math.isqrt(PAIRS_IN_TILES // (len(tiles) * (4 if rule.anywhere else 1)))
    if sampling.seeds > most:
        raise ConfigError(
            f"analysis.partial looks at {most:,} seeds of a prompt at most, and each has "
            f"{sampling.seeds:,}; leave it out, or lower sampling.seeds or analysis.parts.grid."
        )
