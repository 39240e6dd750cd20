"""Results as tests need them."""

from seedsweep.audit.findings.counts import count_results
from seedsweep.audit.findings.present import Found
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.record import digest
from seedsweep.storage.records import Prompt


def make_result(**changes):
    """A prompt of four seeds that is not flagged, or as changed."""
    text = changes.get("prompt", "a cat")
    usual = {
        "prompt_id": Prompt(text=text).prompt_id,
        "prompt": text,
        "seeds": 4,
        "seeds_digest": digest([*range(changes.get("seeds", 4))]),
        "excluded": 0,
        "edges": 0,
        "clique_size": 0,
        "clique_seeds": (),
        "clique_proven": True,
        "clique_upper_bound": 0,
        "mean_distance": None,
        "flagged": False,
        "representative_seed": None,
        "match": None,
    }
    return PromptResult(**usual | changes)


def make_flagged(**changes):
    """A prompt with two seeds of one picture, or as changed."""
    flagged = {
        "edges": 1,
        "clique_size": 2,
        "clique_seeds": (1, 3),
        "clique_upper_bound": 2,
        "mean_distance": 0.012,
        "flagged": True,
        "representative_seed": 1,
    }
    return make_result(**flagged | changes)


def make_found(results, **changes):
    """What an analysis found, with cliques of two, or as changed."""
    usual = {
        "campaign_id": "a-0123456789ab",
        "analysis_id": "an",
        "results": tuple(results),
        "min_clique_size": 2,
        "counts": count_results(results, len(results), 4, 2),
        "captions": {},
        "of_parts": {},
        "cut": frozenset(),
        "same_as": {},
        "added": {},
        "notes": (),
        "no_evidence": "",
        "trouble": "",
    }
    return Found(**usual | changes)
