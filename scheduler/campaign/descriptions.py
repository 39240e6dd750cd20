"""A campaign's settings in words, for people who read its report and not its file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from seedsweep.storage.record import Record
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import (
    WHEREABOUTS,
    Analysis,
    AnalysisSettings,
    PartRule,
    Verification,
)
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.model import Adapter, Model, Source
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.analysis.matching import SMALL_IMAGE_SIDE


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing worth knowing: what it is, its value, and what to think of it."""

    label: str
    value: str
    note: str = ""


def run_facts(submission: Submission) -> tuple[Fact, ...]:
    """What was run, as it was submitted."""
    campaign = submission.campaign
    model, sampling = campaign.model, campaign.sampling
    return (
        Fact("Model", model.path or model.pipeline, _revision(model.revision, model.path)),
        Fact("Fingerprint", model.fingerprint or "none"),
        *part_facts(model),
        Fact("Pipeline", model.pipeline, f"weights as {model.dtype}"),
        *([Fact("Options", ", ".join(model.options))] if model.options else []),
        *_sampling_facts(campaign),
        Fact("Batch size", f"{sampling.batch_size}", "images in one tensor"),
        *([Fact("Images kept", "those of flagged prompts")] if campaign.keep == "flagged" else []),
        Fact("Images per unit", f"{sampling.images_per_unit}", "one work unit, one shard"),
        _prompts_fact(campaign),
        *(Fact(NOTE, note) for note in submission.notes),
        Fact("Versions as submitted", submission.versions or "not recorded"),
    )


OWN = "each prompt has its own"
NOTE = "Note"


def _prompts_fact(campaign: Campaign) -> Fact:
    if campaign.prompts is None:
        return Fact("Prompts", "none", "the model makes pictures of seeds alone")
    return Fact("Prompts from", campaign.prompts.file, _column(campaign.prompts.column))


def _sampling_facts(campaign: Campaign) -> Iterator[Fact]:
    """What pictures are made with; of a setting that each prompt has of its own, which column."""
    sampling, own = campaign.sampling, campaign.own_columns
    named = {name: f"column {column}" for name, column in own.named.items()}
    if own.sampler or own.steps:
        yield Fact("Sampler", OWN if own.sampler else _sampler(sampling), named.get("sampler", ""))
        yield Fact("Steps", OWN if own.steps else f"{sampling.steps}", named.get("steps", ""))
    else:
        yield Fact("Sampler", _sampler(sampling), _steps(sampling))
    if not campaign.is_unconditional:
        guidance = OWN if own.guidance_scale else f"{sampling.guidance_scale:g}"
        yield Fact("Guidance scale", guidance, named.get("guidance_scale", ""))
    if own.negative_prompt or sampling.negative_prompt:
        negative = OWN if own.negative_prompt else sampling.negative_prompt
        yield Fact("Negative prompt", negative, named.get("negative_prompt", ""))
    if own.width or own.height:
        yield Fact("Width", OWN if own.width else f"{sampling.width}", named.get("width", ""))
        yield Fact("Height", OWN if own.height else f"{sampling.height}", named.get("height", ""))
    else:
        yield Fact("Size", f"{sampling.width} × {sampling.height} pixels")  # noqa: RUF001
    seeds = f"each prompt's own, from {named['first_seed']} on" if own.first_seed else ""
    seeds = f"each prompt's own, {named['seeds']}" if own.seeds else seeds
    each = "" if campaign.is_unconditional else " for each prompt"
    yield Fact("Seeds", f"{sampling.seeds:,}{each}", seeds or _seed_range(campaign.seeds))


def _sampler(sampling: Sampling) -> str:
    return sampling.sampler or "the model's own"


def part_facts(model: Model) -> tuple[Fact, ...]:
    """What a model is made of beside the folder or checkpoint that is its path."""
    return (
        *([Fact("Variant", model.variant)] if model.variant else []),
        *([Fact("Configuration", model.config, model.config_fingerprint)] if model.config else []),
        *(
            Fact(
                f"Adapter {number}",
                _place(one, one.file),
                "; ".join(filter(None, (_acts(one), one.fingerprint))),
            )
            for number, one in enumerate(model.adapters, 1)
        ),
        *(
            Fact(f"Embedding {number}", _place(one, one.file), f"{one.token}; {one.fingerprint}")
            for number, one in enumerate(model.embeddings, 1)
        ),
        *(Fact(f"Its {one.name}", _place(one), one.fingerprint) for one in model.components),
    )


def part_words(model: Model) -> tuple[str, ...]:
    """The same for people who look before they run: without fingerprints."""
    acts = {f"Adapter {number}": f" ({_acts(one)})" for number, one in enumerate(model.adapters, 1)}
    return tuple(
        f"{fact.label.lower()}: {fact.value}{acts.get(fact.label, '')}"
        for fact in part_facts(model)
    )


def _place(source: Source, file: str = "") -> str:
    at = "" if source.revision == "main" else f" at {source.revision}"
    return f"{source.path}{'/' if file else ''}{file}{at}"


def _acts(adapter: Adapter) -> str:
    trigger = f"; {adapter.trigger!r} before each prompt that lacks it" if adapter.trigger else ""
    return f"weight {adapter.weight:g}{trigger}"


def recorded_facts(provenance: Iterable[tuple[str, str]]) -> tuple[Fact, ...]:
    """What the shards say of the machines that made their images, one fact for each label."""
    by_label: dict[str, list[str]] = {}
    for label, value in sorted(provenance):
        by_label.setdefault(label, []).append(value)
    return tuple(
        Fact(
            label.capitalize(),
            " · ".join(values),
            "differs between images" if len(values) > 1 else "",
        )
        for label, values in by_label.items()
    )


_MATRIX = {
    "pruned": "Exact distances were computed only if descriptors left a clique possible. The "
    "result is the same as from all distances.",
    "full": "The exact distance of every pair was computed from all pixels.",
}


def analysis_words(settings: Analysis) -> tuple[str, ...]:
    """When two generations count as the same picture, and when a prompt is flagged."""
    grid = f"{settings.tiles} × {settings.tiles}"  # noqa: RUF001
    return (
        f"Two generations are joined by an edge if their tiled l2 is at most "
        f"{settings.edge_threshold:g}. Tiled l2 is the largest l2 over a {grid} grid of tiles, "
        f"with pixels from 0 to 1.",
        f"A prompt is flagged if at least {settings.min_clique_size} of its generations are all "
        f"joined to one another: a clique. Flagged prompts are ordered by the mean distance within "
        f"the clique: by how alike their generations are, not by how sure a memory is.",
        f"The search for the largest clique ends after {settings.max_steps:,} steps; if that "
        f"was too few, the report gives an upper bound.",
        _MATRIX[settings.matrix],
        *_part_words(settings),
        "The edge threshold is a setting to be calibrated on the model at hand, not a constant: "
        "the method's paper (Carlini et al. 2023, arXiv 2301.13188) did not publish its own.",
    )


def change_words(own: AnalysisSettings, other: AnalysisSettings) -> tuple[str, ...]:
    """What the other settings have instead of the campaign's own, key by key."""
    before, after = _flat(own), _flat(other)
    return tuple(
        f"{name} {after.get(name, 'none')} instead of {before.get(name, 'none')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def _flat(settings: AnalysisSettings) -> dict[str, str]:
    """The settings that a verdict depends on, in words, those that have their default too."""
    judged: list[tuple[str, object]] = [*settings.analysis]
    judged += [(key, value) for key, value in settings.verification or () if key not in WHEREABOUTS]
    flat = {}
    for key, value in judged:
        nested = [*value] if isinstance(value, Record) else [("", value)]
        for inner, setting in nested:
            flat[f"{key} {inner}".strip().replace("_", " ")] = _setting(setting)
    return flat


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _part_words(settings: Analysis) -> tuple[str, ...]:
    if not settings.partial:
        return ()
    rule, size = settings.parts, settings.min_clique_size
    return (
        f"A part of the picture repeats if at least {size} generations are the same in at least "
        f"{rule.least} of {rule.grid**2} tiles: within an l2 of {rule.distance:g} and correlated "
        f"to at least {rule.correlation:g} once each channel's mean is taken off, with a standard "
        f"deviation of at least {rule.texture:g}. {_where_words(rule)} Parts are listed by "
        "`seedsweep results`, and `seedsweep verify` compares them with training pictures.",
    )


def _where_words(rule: PartRule) -> str:
    ways = [f"up to {rule.scale:.3g} larger or smaller"] if rule.scale else []
    ways += ["mirrored"] if rule.mirror else []
    other = f", and be {' or '.join(ways)}" if ways else ""
    if rule.shift:
        return (
            f"It may lie elsewhere in each, up to {rule.shift:.3g} of the shorter side away{other}."
        )
    return (
        f"It may be {' or '.join(ways)} in some of them." if ways else "All show it at one place."
    )


def verification_words(settings: Verification | None, sampling: Sampling) -> tuple[str, ...]:
    """With which training pictures a clique is compared, and when a match is an extraction."""
    if settings is None:
        return ("No training set was given, so nothing is matched: flagged is all that is known.",)
    how = {"short-side": "scaled to cover", "stretch": "stretched to"}[settings.resize]
    crop = " and cropped at the centre" if settings.resize == "short-side" else ""
    size = f"{sampling.width} × {sampling.height}"  # noqa: RUF001
    return (
        f"The clique's representative, its medoid, is chosen without the training set and then "
        f"compared with every picture in {settings.training_set} that can be read, {how} {size} "
        f"pixels{crop}. "
        f"The match is the nearest by plain l2.",
        f"The training set's fingerprint is {settings.fingerprint or 'not recorded'}.",
        _extraction_rule(settings, sampling),
    )


def is_small(sampling: Sampling) -> bool:
    """Whether the pictures are so small that l2 alone decides nothing."""
    return min(sampling.width, sampling.height) < SMALL_IMAGE_SIDE


def _extraction_rule(settings: Verification, sampling: Sampling) -> str:
    rule = f"A match is an extraction if l2 is at most {settings.threshold:g} (Definition 1)"
    whose = {"training": "training picture", "generation": "representative"}
    shared = "the agreement not 0"
    adaptive = (
        f"l2 divided by {settings.alpha:g} times the mean l2 from the "
        f"{whose[settings.neighbours_of]} to its {settings.neighbours} nearest distinct neighbours "
        "in the training set, near-copies counted once"
    )
    if is_small(sampling):
        rule = f"{rule}, the adaptive score at most 1 and {shared}. That score is {adaptive}."
    else:
        rule = f"{rule} and {shared}. Beside it the report gives the adaptive score, {adaptive}."
    return (
        f"{rule} The agreement is the share of the picture where both have the same texture; at 0 "
        "they share a background alone."
    )


def _revision(revision: str, path: str) -> str:
    return f"revision {revision}" if path and not path.startswith("/") else ""


def _steps(sampling: Sampling) -> str:
    return f"{sampling.steps} steps"


def _seed_range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}"


def _column(column: str | None) -> str:
    return f"column {column}" if column else ""
