"""How far campaigns are, and what is stuck."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from seedsweep.scheduler.campaign.plan import ImageCounts, Plan, image_counts
from seedsweep.scheduler.campaign.restore import load_plan, restore_state
from seedsweep.scheduler.campaign.store_words import store_words
from seedsweep.scheduler.campaign.unserved import why_unserved
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.campaigns import is_served, load_campaign, load_control, load_parked
from seedsweep.storage.ledger import Ledger
from seedsweep.storage.life_signs import Demand, Sign
from seedsweep.storage.live_state import LiveCounts
from seedsweep.storage.records import Prompt, Submission
from seedsweep.storage.store import Store
from seedsweep.storage.workforce import Workforce
from seedsweep.workers.stored_images import corrupt_shards

SHOWN_PARKED = 3
"""Of so many parked units the reasons are said: most often it is one for all."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One campaign's state: what `status --json` prints.

    `images` are those to be made, `images_full` those of the full attack: with stages, what is
    dropped is spared. `images_shared`: how many of `images_done` are of prompts that are the same
    to the model as an earlier one, whose images they took over unless these were gone. `state`:
    queued, running, stopped (begun, not settled and served by nobody), paused, cancelled, failed or
    done (analysis included). `stuck` says in sentences what keeps the campaign from going on, or
    has failed in it.
    """

    id: str
    name: str
    state: str
    submitted_at: str
    units: int
    units_done: int
    units_parked: int
    units_dropped: int
    images: int
    images_full: int
    images_done: int
    prompts: int
    prompts_analysed: int
    flagged: int
    images_shared: int = 0
    stuck: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether every unit is done, parked or dropped, and every prompt analysed."""
        units_left = self.units - self.units_done - self.units_parked - self.units_dropped
        return units_left == 0 and self.prompts_analysed == self.prompts


@dataclass(frozen=True, slots=True)
class Services:
    """What serves the campaigns just now: whether a scheduler leads, the workers, the analysts.

    `trouble` says what they find wrong with the store; `demand`: for which loads units wait.
    """

    led: bool
    signs: tuple[Sign, ...]
    analysts: int
    trouble: tuple[str, ...] = ()
    demand: Mapping[str, Demand] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether anybody serves."""
        return self.led or self.workers > 0 or self.analysts > 0

    @property
    def workers(self) -> int:
        """How many workers live."""
        return sum(sign.alive for sign in self.signs)


@dataclass(frozen=True, slots=True)
class Broker:
    """The campaigns' live state, and who serves it."""

    ledger: Ledger
    workforce: Workforce

    @staticmethod
    def at(url: str) -> "Broker":
        """The broker at a URL; raises `ConfigError` if that is none."""
        return Broker(Ledger(url), Workforce(url))


def read_services(broker: Broker) -> Services:
    """See what serves the campaigns.

    Raises `BrokerUnavailableError` if the broker does not answer, or not to us.
    """
    workforce = broker.workforce
    signs, trouble = tuple(workforce.signs()), tuple(store_words(workforce.complaints()))
    analysts, demand = workforce.analysts(), workforce.demanded()
    return Services(workforce.is_led(), signs, analysts, trouble, demand)


def read_progress(
    store: Store, campaign_id: str, broker: Broker | None, services: Services | None
) -> Progress:
    """Read a campaign's progress: from the broker if it knows the campaign, else the store."""
    submission = load_campaign(store, campaign_id)
    if broker is not None and services is not None:
        counts = broker.ledger.counts(campaign_id)
        done = broker.ledger.done_units(campaign_id)
        if counts is not None and done is not None and broker.ledger.has_epoch():
            stages = broker.ledger.stages(campaign_id)
            images = image_counts(
                submission.campaign, submission.cuts, done, stages, submission.unseen
            )
            control = load_control(store, campaign_id)
            progress = _live_progress(submission, counts, images, control.state, services.any)
            parked, stuck = _parked(store, progress), _stuck(counts, services)
            unserved = _unserved(progress, control.priority, counts, services)
            return replace(progress, stuck=(*parked, *stuck, *unserved))
    return _stored_progress(store, submission)


def failures(store: Store, plan: Plan) -> list[str]:
    """Say in sentences what a campaign could not do: parked units, and images that were lost."""
    campaign = plan.campaign
    sentences = [
        f"Unit {unit.index} (prompt {unit.prompt_id}, seeds {unit.seeds.first} to "
        f"{unit.seeds.last}) was parked: {unit.reason}"
        for unit in load_parked(store, campaign.campaign_id)
    ]
    if sentences:
        again = f"`seedsweep resume {campaign.campaign_id} --failed`"
        sentences.append(f"{again} has parked units tried again by the next run.")
    for index in restore_state(store, plan).ready:
        prompt_id = Prompt(text=plan.prompts[index]).prompt_id
        own = plan.campaign_of(index)
        corrupt = corrupt_shards(
            store, own.generation_id, prompt_id, plan.cuts_of(index), own.sampling
        )
        sentences += [
            f"The shard {key} is corrupt, so its images were left out; "
            f"`seedsweep check {campaign.campaign_id} --repair` has them made anew."
            for key in corrupt
        ]
    return sentences


def _live_progress(
    submission: Submission, counts: LiveCounts, images: ImageCounts, wanted: str, served: bool
) -> Progress:
    progress = Progress(
        id=submission.campaign.campaign_id,
        name=submission.campaign.name,
        state=wanted,
        submitted_at=submission.submitted_at,
        units=counts.units,
        units_done=counts.done,
        units_parked=counts.parked,
        units_dropped=counts.dropped,
        images=images.wanted,
        images_full=images.full,
        images_done=images.done,
        images_shared=images.shared,
        prompts=counts.prompts,
        prompts_analysed=counts.analysed,
        flagged=counts.flagged,
    )
    return _with_state(progress, counts.window > 0, served)


def _stored_progress(store: Store, submission: Submission) -> Progress:
    plan = load_plan(store, submission)
    restored = restore_state(store, plan)
    stages = restored.stages if restored.ends else None
    images = image_counts(plan.campaign, plan.cuts, restored.done, stages, plan.unseen)
    progress = Progress(
        id=submission.campaign.campaign_id,
        name=submission.campaign.name,
        state=restored.state,
        submitted_at=submission.submitted_at,
        units=len(plan),
        units_done=int(restored.done.sum()),
        units_parked=len(restored.parked),
        units_dropped=restored.dropped,
        images=images.wanted,
        images_full=images.full,
        images_done=images.done,
        images_shared=images.shared,
        prompts=len(plan.prompts),
        prompts_analysed=int(restored.analysed.sum()),
        flagged=len(restored.flagged),
    )
    stuck = tuple(_parked(store, progress))
    served = is_served(store, progress.id)
    return replace(_with_state(progress, False, served), stuck=stuck)


def _with_state(progress: Progress, live: bool, served: bool) -> Progress:
    state = progress.state
    if progress.settled:
        state = "failed" if progress.units_done == 0 else "done"
    elif state == "active":
        begun = live or progress.units_done + progress.units_parked > 0
        state = ("running" if served else "stopped") if begun else "queued"
    return replace(progress, state=state)


def _parked(store: Store, progress: Progress) -> Iterator[str]:
    """How many units were given up, and the different reasons of the first few."""
    if not progress.units_parked:
        return
    few = load_parked(store, progress.id, SHOWN_PARKED)
    reasons = " ".join(dict.fromkeys(unit.reason for unit in few))
    were, them = ("was", "it") if progress.units_parked == 1 else ("were", "them")
    yield (
        f"{count_words(progress.units_parked, 'unit')} {were} given up; `seedsweep resume "
        f"{progress.id} --failed` tries {them} again. {reasons}"
    )


def _stuck(counts: LiveCounts, services: Services) -> Iterator[str]:
    if counts.settled or counts.state != "active":
        return
    yield from services.trouble
    if counts.trouble:
        yield counts.trouble
    if counts.failing:
        units = count_words(counts.failing, "unit")
        its, is_or_are = ("its", "is") if counts.failing == 1 else ("their", "are")
        yield f"{units} failed or lost {its} worker before, and {is_or_are} tried again."
    if counts.remaining:
        yield from (sign.worker.why_out for sign in services.signs if sign.worker.why_out)
    if not services.led:
        yield "No scheduler leads; start one the way you deployed, or `seedsweep scheduler`."
    if counts.remaining and not services.workers:
        yield "No worker lives; start one the way you deployed, or `seedsweep worker`."
    if counts.ready and not services.analysts:
        wait = "waits" if counts.ready == 1 else "wait"
        yield (
            f"{count_words(counts.ready, 'prompt')} {wait} for an analyst; start one the way you "
            "deployed, or `seedsweep analyst`."
        )


def _unserved(
    progress: Progress, priority: int, counts: LiveCounts, services: Services
) -> Iterator[str]:
    if counts.waiting and not counts.claimed and services.led:
        yield from why_unserved(progress.id, priority, services.demand, services.signs)
