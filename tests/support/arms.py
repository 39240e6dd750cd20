"""Campaigns with results as comparisons need them."""

from seedsweep.storage.campaigns import load_campaign, store_campaign
from seedsweep.storage.prompt_results import Match, Part
from seedsweep.storage.record import digest
from seedsweep.storage.records import Prompt
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import drop_results, read_results
from seedsweep.storage.settings.analysis import Analysis, Verification
from tests.support.campaigns import make_campaign, make_submission, noise_model
from tests.support.results import make_flagged, make_result

SEEDS = 8
PARTIAL = Analysis(min_clique_size=2, partial=True)


def part_of(tiles):
    """A part of so many tiles."""
    return Part(
        seeds=(0, 1),
        whole_seeds=(0, 1),
        tiles=tuple(range(tiles)),
        share=0.2,
        representative_seed=0,
    )


def submit_parts(store, name, sizes, tiles):
    """As `submit`, analysed with parts: prompts repeat parts of so many tiles."""
    campaign_id = submit(store, name, sizes, analysis=PARTIAL)
    analysis_id = load_campaign(store, campaign_id).campaign.analysis_id
    results = [
        each.model_copy(update={"parts": (part_of(tiles[each.prompt]),)})
        for each in read_results(store, analysis_id, campaign_id)
        if each.prompt in tiles
    ]
    drop_results(store, campaign_id, {each.prompt_id for each in results})
    store_results(store, analysis_id, campaign_id, results)
    return campaign_id


def submit(store, name, sizes, extracted=(), digests=None, **changes):
    """Store a campaign, with a training set, whose prompts have cliques of these sizes.

    Size 0 is not flagged. `changes`: other values of the campaign's fields. `extracted`:
    training ids by prompt. `digests`: hashes of the seeds by prompt.
    """
    campaign = make_campaign(
        name,
        prompts=5,
        model=noise_model(name),
        analysis=Analysis(min_clique_size=2),
        verification=Verification(training_set="/train", fingerprint="t"),
        seeds=SEEDS,
    ).model_copy(update=changes)
    store_campaign(store, make_submission(campaign), list(sizes))
    training = dict(extracted)
    results = [
        result(text, size, training.get(text), (digests or {}).get(text))
        for text, size in sizes.items()
    ]
    store_results(store, campaign.analysis_id, campaign.campaign_id, results)
    return campaign.campaign_id


def result(text, size=0, training_id=None, seeds_digest=None):
    about = {"prompt": text, "prompt_id": Prompt(text=text).prompt_id}
    about |= {"seeds": SEEDS, "seeds_digest": digest([*range(SEEDS)])}
    if seeds_digest:
        about |= {"seeds": SEEDS - 1, "seeds_digest": seeds_digest}
    if not size:
        return make_result(**about)
    match = None
    if training_id:
        match = Match(training_id=training_id, l2=0.1, tiled_l2=0.1, adaptive=0.5, extracted=True)
    clique = {"clique_size": size, "clique_seeds": tuple(range(size)), "clique_upper_bound": size}
    clique["representative_seed"] = 0
    return make_flagged(**about | clique | {"match": match})
