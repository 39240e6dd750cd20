import pytest

from seedsweep.storage.errors import StoreUnavailableError, TransientError
from seedsweep.storage.observed_store import StoreRequest as Asked
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings
from seedsweep.workers.analysts.actor import Analysed, AnalysisRequest
from seedsweep.workers.analysts.actor_metrics import note
from seedsweep.workers.analysts.cost import Effort
from seedsweep.workers.monitoring.campaign_collector import registry_of

REQUEST = AnalysisRequest("small-1", "a cat", AnalysisSettings(analysis=Analysis()))
EFFORT = Effort(
    images=500,
    decoded=7,
    pairs=124_750,
    candidate_pairs=21,
    steps=(("read", 0.5), ("prune", 0.25)),
    requests=(
        Asked("read_range", 1000, 0.25),
        Asked("read_range", 500, 0.5),
        Asked("read", 0, 8.0, failure="It is away."),
        Asked("create", 70, 0.125),
        Asked("replace", 7, 0.125),
        Asked("exists", 0, 0.0625),
    ),
)
EXPECTED = {
    "seedsweep_analysis_seconds_count": 1,
    "seedsweep_analysis_seconds_sum": 2,
    "seedsweep_analysis_step_seconds_count read": 1,
    "seedsweep_analysis_step_seconds_sum read": 0.5,
    "seedsweep_analysis_step_seconds_count prune": 1,
    "seedsweep_analysis_step_seconds_sum prune": 0.25,
    "seedsweep_analysis_images_total": 500,
    "seedsweep_analysis_decoded_images_total": 7,
    "seedsweep_analysis_pairs_total": 124_750,
    "seedsweep_analysis_candidate_pairs_total": 21,
    "seedsweep_store_request_seconds_count read_range": 2,
    "seedsweep_store_request_seconds_sum read_range": 0.75,
    "seedsweep_store_request_seconds_count read": 1,
    "seedsweep_store_request_seconds_sum read": 8,
    "seedsweep_store_request_seconds_count create": 1,
    "seedsweep_store_request_seconds_sum create": 0.125,
    "seedsweep_store_request_seconds_count replace": 1,
    "seedsweep_store_request_seconds_sum replace": 0.125,
    "seedsweep_store_request_seconds_count exists": 1,
    "seedsweep_store_request_seconds_sum exists": 0.0625,
    "seedsweep_store_bytes_total read": 1500,
    "seedsweep_store_bytes_total written": 77,
    "seedsweep_store_errors_total read": 1,
}


def shown():
    """What the analyst shows of its own, but for buckets and when metrics were created."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in registry_of("analyst").collect()
        for sample in family.samples
        if sample.name.startswith("seedsweep") and not sample.name.endswith(("_bucket", "_created"))
    }


def rise(before):
    after = shown()
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


@pytest.mark.parametrize("error", [None, StoreUnavailableError("It is away.")])
def test_the_metrics_rise_by_what_a_prompt_took_whatever_became_of_it(error):
    before = shown()
    note(Analysed(REQUEST, 2.0, error=error, effort=EFFORT))
    assert rise(before) == pytest.approx(EXPECTED)


def test_of_an_actor_that_was_lost_nothing_is_known():
    before = shown()
    note(Analysed(REQUEST, 0.0, error=TransientError("It broke off.")))
    assert rise(before) == {}
