"""A bundle and its verifier count each for itself; here one is held against the other."""

from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from seedsweep.audit.evidence import verify_bundle
from seedsweep.audit.evidence.denominators import all_generations_counted, denominators
from seedsweep.audit.findings.counts import count_results
from seedsweep.storage.extractions import Extractions
from seedsweep.storage.prompt_results import Clique, Drop, Match
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import Parked
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.storage.settings.sampling import Stage
from seedsweep.storage.verification_results import Coverage
from tests.support.campaigns import make_campaign, make_submission
from tests.support.results import make_flagged, make_result

SEEDS = 8
SCREEN = Stage(screen="one-step", above=1, seeds=2)
CUTS = (SeedRange(first=0, last=4), SeedRange(first=5, last=7))

matches = st.builds(
    Match,
    training_id=st.sampled_from(["1.png", "2.png", "3.png"]),
    l2=st.just(0.1),
    tiled_l2=st.just(0.2),
    adaptive=st.none(),
    extracted=st.booleans(),
)
cliques = st.builds(
    Clique,
    clique_seeds=st.just((0, 2)),
    mean_distance=st.just(0.1),
    representative_seed=st.just(0),
    match=st.none() | matches,
)
drops = st.builds(Drop, stage=st.just(1), near=st.booleans(), sampled=st.booleans())
counted = {
    "seeds": st.integers(5, SEEDS),
    "excluded": st.integers(0, 3),
    "drop": st.none() | drops,
}
ordinary = st.builds(make_result, clique_proven=st.booleans(), **counted)
screened_out = st.builds(
    make_result,
    seeds=st.just(0),
    clique_upper_bound=st.just(0),
    drop=st.just(Drop(stage=1, near=False, sampled=False, score=0.1)),
)
flagged = st.builds(
    make_flagged,
    clique_proven=st.booleans(),
    match=st.none() | matches,
    further_cliques=st.lists(cliques, max_size=2).map(tuple),
    **counted,
)
parked_units = st.builds(
    Parked,
    index=st.integers(0, 9),
    prompt_id=st.just("0" * 16),
    seeds=st.sampled_from(CUTS),
    reason=st.just("no luck"),
)
judged = st.builds(
    AnalysisSettings,
    analysis=st.builds(Analysis, min_clique_size=st.integers(2, SEEDS)),
    verification=st.none() | st.just(Verification(training_set="/t")),
)


@tried(deadline=None)
@given(
    st.lists(ordinary | screened_out | flagged, max_size=6),
    st.integers(0, 4),
    st.lists(parked_units),
    judged,
    st.sampled_from([(), (Stage(seeds=5),), (SCREEN, Stage(seeds=5))]),
)
def test_a_bundle_counts_as_its_verifier_does(results, not_analysed, parked, settings, stages):
    prompts = len(results) + not_analysed
    campaign = make_campaign(prompts=prompts, seeds=SEEDS, stages=stages)
    submission = make_submission(campaign, CUTS)
    by_the_verifier = verify_bundle.denominators(
        [result.model_dump(mode="json") for result in results],
        submission.model_dump(mode="json"),
        prompts,
        [unit.model_dump(mode="json") for unit in parked],
        settings.model_dump(mode="json"),
    )
    counts = count_results(results, prompts, SEEDS, settings.analysis.min_clique_size)
    told = denominators(counts, submission, parked, settings.verification is not None)
    assert told == by_the_verifier
    assert [*told] == [*by_the_verifier]


extractions = st.none() | st.builds(
    Extractions,
    seeds_digest=st.just("0" * 16),
    searched=st.integers(0, SEEDS),
    extracted=st.integers(0, SEEDS),
    pictures=st.just(()),
    coverage=st.builds(
        Coverage,
        path=st.just("p"),
        listing=st.just("l"),
        pictures=st.integers(0, 9),
        unreadable=st.just(0),
    ),
)


@tried(deadline=None, max_examples=30)
@given(st.lists(ordinary | flagged, max_size=1), st.lists(parked_units), extractions)
def test_all_generations_are_counted_as_the_verifier_counts_them(results, parked, found):
    campaign = make_campaign(seeds=SEEDS, guidance_scale=1.0)
    submission = make_submission(campaign.model_copy(update={"prompts": None}), CUTS)
    by_the_verifier = verify_bundle.all_generations_counted(
        [result.model_dump(mode="json") for result in results],
        submission.model_dump(mode="json"),
        [unit.model_dump(mode="json") for unit in parked],
        found and found.model_dump(mode="json"),
    )
    told = all_generations_counted(results, submission, parked, found)
    assert told == by_the_verifier
    assert [*told] == [*by_the_verifier]
