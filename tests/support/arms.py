"""Campaigns with results as comparisons need them."""

from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.prompt_results import Match
from seedsweep.storage.records import (
    Analysis,
    Campaign,
    Model,
    Prompt,
    PromptList,
    Sampling,
    SeedRange,
    Submission,
    Verification,
)
from seedsweep.storage.results import store_results
from tests.support.results import make_flagged, make_result

SEEDS = 8


def make_campaign(name, **changes):
    """A campaign of eight seeds with a training set, or as changed."""
    usual = {
        "model": Model(pipeline="noise", path=name, fingerprint=f"noise:{name}"),
        "prompts": PromptList(file="prompts.csv", column="prompt", count=5, digest="d"),
        "sampling": Sampling(seeds=SEEDS),
        "analysis": Analysis(min_clique_size=2),
        "verification": Verification(training_set="/train", fingerprint="t"),
    }
    return Campaign(name=name, **usual | changes)


def submit(store, name, sizes, extracted=(), digests=None, **changes):
    """Store a campaign whose prompts have cliques of these sizes; 0 is not flagged.

    `extracted`: training ids by prompt. `digests`: hashes of the seeds by prompt.
    """
    campaign = make_campaign(name, **changes)
    cuts = (SeedRange(first=0, last=SEEDS - 1),)
    submission = Submission(
        campaign=campaign, cuts=cuts, submitted_at="2025-11-24T04:46:00+00:00", versions="v"
    )
    store_campaign(store, submission, list(sizes))
    training = dict(extracted)
    results = [
        result(text, size, training.get(text), (digests or {}).get(text, "same"))
        for text, size in sizes.items()
    ]
    store_results(store, campaign.analysis_id, campaign.campaign_id, results)
    return campaign.campaign_id


def result(text, size=0, training_id=None, seeds_digest="same"):
    about = {"prompt": text, "prompt_id": Prompt(text=text).prompt_id}
    about |= {"seeds": SEEDS, "seeds_digest": seeds_digest}
    if not size:
        return make_result(**about)
    match = None
    if training_id:
        match = Match(training_id=training_id, l2=0.1, tiled_l2=0.1, adaptive=0.5, extracted=True)
    clique = {"clique_size": size, "clique_seeds": tuple(range(size)), "clique_upper_bound": size}
    return make_flagged(**about | clique | {"match": match})
