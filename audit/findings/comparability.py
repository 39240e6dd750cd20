"""Whether two campaigns may be compared, and in what they differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seedsweep.scheduler.campaign.descriptions import NOTE, Fact, run_facts
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import WHEREABOUTS, AnalysisSettings, Verification
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.sampling import PromptSettings, SettingColumns

_PLACE = {*WHEREABOUTS, "column", "fingerprint"}
_FLAGS = {
    "edge_threshold": "--edge-threshold",
    "min_clique_size": "--min-clique-size",
    "tiles": "--tiles",
    "threshold": "--verification-threshold",
}


@dataclass(frozen=True, slots=True)
class Arm:
    """One campaign of a comparison, and how it is judged at present."""

    submission: Submission
    settings: AnalysisSettings

    @property
    def campaign_id(self) -> str:
        """The campaign's id."""
        return self.submission.campaign.campaign_id


@dataclass(frozen=True, slots=True)
class Contrast:
    """One thing in which the campaigns differ."""

    label: str
    a: str
    b: str


def refuse_unlike(a: Arm, b: Arm) -> None:
    """Raise `ConfigError` unless both have the same seeds and are judged by the same settings.

    `matrix` may differ, since it alters no result, and so may the training set: before and after
    deduplication it does. Only one of them may lack a [verification].
    """
    if a.campaign_id == b.campaign_id:
        raise ConfigError(
            f"{a.campaign_id} cannot be compared with itself; name two campaigns, such as one of "
            "the model before and one of the model after."
        )
    for arm in (a, b):
        refuse_stages(arm.submission, "a comparison")
    seeds_a, seeds_b = a.submission.campaign.seeds, b.submission.campaign.seeds
    if seeds_a != seeds_b:
        raise ConfigError(
            f"{a.campaign_id} has the seeds {_seeds(seeds_a)}, {b.campaign_id} {_seeds(seeds_b)}, "
            "so their cliques do not compare; submit one of them again with the other's `seeds` "
            "and `first_seed`."
        )
    differing = list(_differing(a.settings, b.settings))
    if differing:
        what = ", ".join(f"{name} ({one} and {other})" for name, one, other in differing)
        raise ConfigError(
            f"{a.campaign_id} and {b.campaign_id} are judged by other settings, {what}; "
            f"{_remedy(a, b, [name for name, _, _ in differing])}"
        )


def refuse_stages(submission: Submission, what: str) -> None:
    """Raise `ConfigError` for a campaign with stages: its prompts have few pictures or all."""
    campaign = submission.campaign
    if campaign.stages:
        raise ConfigError(
            f"The stages of {campaign.campaign_id} dropped prompts before they had all their "
            f"pictures, and {what} needs all; submit it without [[stages]] under another name: "
            "what is made is not made again."
        )


def contrasts(a: Arm, b: Arm) -> tuple[Contrast, ...]:
    """What the campaigns differ in: model, sampling, prompts, training set."""
    # What a submission notes repeats such facts in sentences.
    facts_a, facts_b = (
        {
            fact.label: fact
            for fact in (*run_facts(arm.submission), *_more_facts(arm))
            if fact.label != NOTE
        }
        for arm in (a, b)
    )
    return tuple(
        Contrast(label, _words(facts_a.get(label)), _words(facts_b.get(label)))
        for label in dict.fromkeys((*facts_a, *facts_b))
        if facts_a.get(label) != facts_b.get(label)
    )


def setting_words(
    a: Campaign, b: Campaign, pairs: Sequence[tuple[PromptSettings | None, PromptSettings | None]]
) -> Iterator[str]:
    """For how many of the prompts each setting differs, if prompts have settings of their own;
    `pairs` holds those of each prompt in both campaigns."""
    if not {*a.own_columns.named, *b.own_columns.named}:
        return
    for name in SettingColumns.model_fields:
        values = ((_setting(a, one, name), _setting(b, other, name)) for one, other in pairs)
        if count := sum(one != other for one, other in values):
            differs = f"{name.replace('_', ' ').capitalize()} differs"
            yield f"{differs} for {count:,} of {count_words(len(pairs), 'prompt')}."


def _setting(campaign: Campaign, own: PromptSettings | None, name: str) -> object:
    """A setting of a prompt: its own, else that of all."""
    value = getattr(own, name, None)
    return getattr(campaign.sampling, name) if value is None else value


def same_training_set(a: Arm, b: Arm) -> bool:
    """Whether both are compared with the very same training pictures."""
    one, other = a.settings.verification, b.settings.verification
    if one is None or other is None:
        return False
    return (one.fingerprint, one.column) == (other.fingerprint, other.column)


def _seeds(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}"


def _differing(a: AnalysisSettings, b: AnalysisSettings) -> Iterator[tuple[str, object, object]]:
    one, other = ({n: v for n, v in each.analysis if n != "matrix"} for each in (a, b))
    if a.verification and b.verification:
        one |= {name: value for name, value in a.verification if name not in _PLACE}
        other |= {name: value for name, value in b.verification if name not in _PLACE}
    for name, value in one.items():
        if value != other[name]:
            yield name, value, other[name]


def _remedy(a: Arm, b: Arm, differing: list[str]) -> str:
    """How to have B judged as A; `analyse` begins with what the campaign's own file says."""
    if not set(differing) <= {*_FLAGS, "partial"}:
        return (
            "submit one of them under another name with the other's settings, which makes no image "
            "anew."
        )
    own = b.submission.campaign.settings
    if own.verification is None and a.settings.verification:
        own = own.model_copy(update={"verification": a.settings.verification})
    flags = [_flag(name, wanted) for name, wanted, _ in _differing(a.settings, own)
             if name in {*_FLAGS, "partial"}]  # fmt: skip
    command = " ".join(["seedsweep analyse", b.campaign_id, *flags])
    return f"`{command}` judges the second as the first."


def _flag(name: str, wanted: object) -> str:
    if name == "partial":
        return "--partial" if wanted else "--no-partial"
    return f"{_FLAGS[name]} {wanted}"


def _more_facts(arm: Arm) -> Iterator[Fact]:
    if prompts := arm.submission.campaign.prompts:
        yield Fact("Prompt list", f"{prompts.count:,} prompts", prompts.digest)
    yield Fact("Training set", *_training(arm.settings.verification))


def _training(verification: Verification | None) -> tuple[str, str]:
    if verification is None:
        return "none", ""
    return verification.training_set, verification.fingerprint


def _words(fact: Fact | None) -> str:
    if fact is None:
        return "none"
    return f"{fact.value} ({fact.note})" if fact.note else fact.value
