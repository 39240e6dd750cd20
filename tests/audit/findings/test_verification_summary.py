"""What is said of control pictures that cliques were compared with."""

import pytest

from seedsweep.audit.findings.verification_summary import flagged_rate, same_flagged, summary
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.prompt_results import Match
from seedsweep.storage.records import Prompt
from seedsweep.storage.verification_results import (
    ControlMatch,
    ControlMatches,
    Coverage,
    VerifiedClique,
)
from tests.support.arms import submit
from tests.support.findings import make_search


def told(store, pictures, limits):
    """The sentences of a search of so many pictures, with 40 controls, and from which l2 on each
    clique would extract one."""
    of_cliques = tuple(
        ControlMatch(prompt_id="0" * 16, seed=seed, l2=0.1, adaptive=1.0, agreement=0.5,
                     extracts_from=limit)
        for seed, limit in enumerate(limits)
    )  # fmt: skip
    controls = ControlMatches(
        coverage=Coverage(path="/c", listing="2", pictures=40, unreadable=0),
        whole=True,
        searched=40,
        matches=0,
        of_cliques=of_cliques,
    )
    coverage = Coverage(path="/t", listing="1", pictures=pictures, unreadable=0)
    campaign_id = submit(store, "before", {"a": 5}, {})
    return " ".join(summary(make_search(store, campaign_id, coverage=coverage, controls=controls)))


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


@pytest.mark.parametrize(
    ("pictures", "limits", "words"),
    [
        (40, [None] * 20, "False extractions by chance: about 0, at most 3 (one-sided 95%,"),
        (40, [0.1, *[None] * 19], "False extractions by chance: about 1, at most 4.74 ("),
        (400, [None] * 20, "40 control pictures are too few to bound how many of the 20 cliques"),
        (40, [0.2, *[None] * 19], "0 of 20 extract one, falsely."),
        (40, [0.2, *[None] * 19], "Below an l2 of 0.2000 no control is extracted"),
        (40, [None] * 20, "No control is extracted at any l2."),
    ],
)
def test_false_extractions_are_bounded_by_no_more_than_there_are_cliques(
    store, pictures, limits, words
):
    assert words in told(store, pictures, limits)


def clique(prompt, extracted):
    match = Match(
        training_id="a.png", l2=0.1, tiled_l2=0.1, adaptive=1, extracted=extracted, distinct=True
    )
    prompt_id = Prompt(text=prompt).prompt_id
    return VerifiedClique(
        prompt_id=prompt_id, prompt=prompt, seed=0, match=match, copies=1, caption=None
    )


def test_of_prompts_that_are_the_same_to_the_model_one_is_in_the_rate_whatever_was_found(store):
    campaign_id = submit(store, "before", {"a": 5}, {})
    found = [clique("a", True), clique("A", True), clique("b", False), clique("C", True)]
    search = make_search(store, campaign_id, cliques=tuple(found))
    assert (flagged_rate(search).count, flagged_rate(search).n) == (3, 4)
    first = {"A": "a", "C": "c", "B": "b"}
    share = flagged_rate(search, first)
    assert (share.count, share.n, same_flagged(search, first)) == (2, 3, 1)
    assert f"{share} (95 %, {share.method}); 1 left out, the same to the model as another" in (
        " ".join(summary(search, first=first))
    )
    assert "left out" not in " ".join(summary(search))
