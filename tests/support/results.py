"""Results as tests need them."""

from seedsweep.storage.prompt_results import PromptResult


def make_result(**changes):
    """A prompt of four seeds that is not flagged, or as changed."""
    usual = {
        "prompt_id": "0" * 16,
        "prompt": "a cat",
        "seeds": 4,
        "seeds_digest": "",
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
