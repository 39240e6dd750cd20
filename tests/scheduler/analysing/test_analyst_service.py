import threading
from collections import Counter

import pytest

from seedsweep.scheduler.analysing import known_campaigns
from seedsweep.scheduler.analysing.analyst_service import AnalystService
from seedsweep.scheduler.analysing.known_campaigns import KnownCampaigns
from seedsweep.scheduler.campaign.plan import Plan
from seedsweep.scheduler.campaign.restore import restore_state
from seedsweep.scheduler.campaign.submission import submit_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import campaign as campaign_key
from seedsweep.storage.record import SeedRange
from seedsweep.storage.results import read_results
from seedsweep.storage.s3.connection import Patience
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.settings.analysis import Analysis, Verification
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.monitoring import health
from seedsweep.workers.monitoring.campaign_collector import registry_of
from tests.support.campaigns import make_campaign, make_images, nothing_done
from tests.support.proxy import STORAGE_FULL, Faults, HttpError

CUTS = (SeedRange(first=0, last=7),)
PROMPTS = ["a cat", "a dog", "an owl"]


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def generate(store, ledger):
    """Submit a campaign, make all its images, and let the ledger know."""

    def generate(name, verification=None, store=store):
        analysis = Analysis(min_clique_size=3)
        campaign = make_campaign(
            name, prompts=3, analysis=analysis, verification=verification, seeds=8
        )
        plan = Plan(campaign, PROMPTS, CUTS)
        submit_campaign(store, plan)
        make_images(store, plan)
        ledger.restore(campaign.campaign_id, restore_state(store, plan))
        return campaign

    return generate


@pytest.fixture
def audit(store, ledger, workforce, joining_ray):
    """Run an analyst until a condition holds; Ray is real."""
    there = Actors(address=joining_ray["SEEDSWEEP_RAY_ADDRESS"])

    def audit(until, actors=there, store=store):
        stopped = threading.Event()
        ended = []

        def is_stopped():
            if until():
                stopped.set()
            ended.append(1)
            assert len(ended) < 600, "nothing came of it"
            return stopped.is_set()

        AnalystService(store, ledger, workforce, is_stopped).run(actors)

    return audit


def test_all_campaigns_are_analysed_and_what_stands_in_the_way_of_one_spares_the_others(
    store, ledger, generate, audit, tmp_path, workforce
):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    broken = generate("broken", Verification(training_set=str(tmp_path / "pictures")))
    lost = generate("lost")
    store.delete(campaign_key(lost.campaign_id))
    store.create(campaign_key(lost.campaign_id), b"{")
    gone = generate("gone")
    store.delete(campaign_key(gone.campaign_id))
    good = generate("sound")
    other = generate("other")

    def are_judged():
        counts = [ledger.counts(c.campaign_id) for c in (good, other)]
        troubles = [ledger.counts(c.campaign_id).trouble for c in (broken, lost, gone)]
        return all(c.settled for c in counts) and all(troubles)

    audit(are_judged)
    for campaign in (good, other):
        results = read_results(store, campaign.analysis_id, campaign.campaign_id)
        assert {result.prompt for result in results} == set(PROMPTS)
        assert ledger.counts(campaign.campaign_id).flagged == sum(r.flagged for r in results)
    assert "broken.png" in ledger.counts(broken.campaign_id).trouble
    assert "campaign.json" in ledger.counts(lost.campaign_id).trouble
    assert "knows no campaign" in ledger.counts(gone.campaign_id).trouble
    assert ledger.counts(broken.campaign_id).analysed == 0
    assert workforce.analysts() == 1


def test_an_auditor_whose_ray_is_away_waits_says_so_and_loses_nothing(
    ledger, generate, audit, workforce, free_port, monkeypatch, caplog
):
    monkeypatch.setattr("seedsweep.scheduler.analysing.analyst_service.RETRY_SECONDS", 0.01)
    monkeypatch.setattr(health, "_begun", {})
    campaign_id = generate("sound").campaign_id
    away = Actors(address=f"127.0.0.1:{free_port()}")
    audit(workforce.analysts, away)
    assert health.overdue(vital=False) == ["Ray has not answered yet."]
    assert [r.message for r in caplog.records if "The analyst waits: The Ray" in r.message]
    assert ledger.counts(campaign_id).analysed == 0
    audit(lambda: ledger.counts(campaign_id).settled)
    assert health.overdue(vital=False) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [(STORAGE_FULL, "give it space"), (HttpError(403, "AccessDenied"), "let this access key")],
)
def test_results_that_the_store_refuses_are_kept_and_stored_once_it_takes_them(
    generate, audit, ledger, proxied_url, s3_proxy, monkeypatch, caplog, error, words
):
    monkeypatch.setattr("seedsweep.scheduler.analysing.analyst_service.RETRY_SECONDS", 0.01)
    store = S3Store(proxied_url, patience=Patience(again=0.1, backoff=0.001))
    campaign = generate("sound", store=store)
    s3_proxy.faults = Faults(errors=1.0, error=error, only="PUT")
    analysed_when_refused = []

    def are_judged():
        analysed = ledger.counts(campaign.campaign_id).analysed
        if any(words in record.getMessage() for record in caplog.records):
            analysed_when_refused.append(analysed)
            s3_proxy.heal()
        return analysed == len(PROMPTS)

    audit(are_judged, store=store)
    assert analysed_when_refused[0] == 0
    results = read_results(store, campaign.analysis_id, campaign.campaign_id)
    assert len(results) == len(PROMPTS)


@pytest.fixture
def shown():
    """The metrics of what actors did, by name and label, but for seconds."""

    def shown():
        return Counter(
            {
                (sample.name, *sample.labels.values()): sample.value
                for family in registry_of("analyst").collect()
                for sample in family.samples
                if sample.name.startswith(("seedsweep_analysis", "seedsweep_store"))
                and sample.name.endswith(("_total", "_count"))
            }
        )

    return shown


def counted_alike(store, campaign):
    """What one actor without Ray counts for all prompts of the campaign."""
    analyst, counts = AnalysisActor(store.url), Counter()
    for text in PROMPTS:
        analysed = analyst.analyse(AnalysisRequest(campaign.campaign_id, text, campaign.settings))
        effort = analysed.effort
        counts["seedsweep_analysis_seconds_count",] += 1
        counts["seedsweep_analysis_images_total",] += effort.images
        counts["seedsweep_analysis_decoded_images_total",] += effort.decoded
        counts["seedsweep_analysis_pairs_total",] += effort.pairs
        counts["seedsweep_analysis_candidate_pairs_total",] += effort.candidate_pairs
        for step, _ in effort.steps:
            counts["seedsweep_analysis_step_seconds_count", step] += 1
        for request in effort.requests:
            counts["seedsweep_store_request_seconds_count", request.operation] += 1
            counts["seedsweep_store_bytes_total", "read"] += request.size
    return counts


def test_the_metrics_rise_by_what_the_actors_did(store, ledger, generate, audit, shown):
    campaign, before = generate("sound"), shown()
    audit(lambda: ledger.counts(campaign.campaign_id).settled)
    rise = shown() - before
    assert rise == counted_alike(store, campaign)
    assert rise["seedsweep_analysis_images_total",] == 3 * 8
    assert rise["seedsweep_analysis_pairs_total",] == 3 * 28


def test_a_ledger_that_knows_a_campaign_without_prompts_to_analyse_keeps_the_auditor_waiting(
    ledger, generate, audit, monkeypatch
):
    """No Ray is started, which nothing would be sent to."""
    monkeypatch.setattr(
        "seedsweep.scheduler.analysing.analyst_service.analyse", lambda requests, *_: requests
    )
    campaign = generate("sound")
    ledger.restore(campaign.campaign_id, nothing_done(3))
    looks = iter(range(4))
    audit(lambda: next(looks, None) is None)
    assert ledger.counts(campaign.campaign_id).analysed == 0


def test_what_is_known_of_campaigns_goes_once_nobody_asks_for_them(store, generate, monkeypatch):
    """Lists of prompts are large, and the broker names settled campaigns too."""
    one, other = generate("one"), generate("other")
    known = KnownCampaigns(store)
    first, second = (known.fresh(each.campaign_id) for each in (one, other))
    known.forget_others(())
    assert [known[each.campaign_id] for each in (one, other)] == [first, second]
    monkeypatch.setattr(known_campaigns, "FORGET_SECONDS", 0.0)
    known.forget_others([one.campaign_id])
    assert known[one.campaign_id] is first
    with pytest.raises(KeyError):
        known[other.campaign_id]
