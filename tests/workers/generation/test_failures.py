import pytest

from seedsweep.storage.campaigns import load_parked, store_campaign
from seedsweep.storage.errors import (
    ConfigError,
    GenerationError,
    ModelLoadError,
    StoreUnavailableError,
    TransientError,
)
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.keys import unit_shard
from seedsweep.workers.generation import failures, loaded_models
from seedsweep.workers.generation.renderer import Renderer
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.broken_pipeline import BrokenPipeline
from tests.support.campaigns import make_campaign, make_submission, nothing_done


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


class TestTakingItselfOut:
    """Workers at a campaign of six prompts, one unit each; some fail all that they are given."""

    @pytest.fixture
    def campaign(self, store, ledger, make_unit):
        campaign = make_campaign(seeds=3)
        store_campaign(store, make_submission(campaign), list("abcdef"))
        ledger.restore(campaign.campaign_id, nothing_done(6))
        return campaign

    @pytest.fixture
    def take(self, ledger, campaign, make_unit):
        """Take the next unit off the queue."""

        def take():
            token, (index,) = ledger.issue(campaign.campaign_id, 1)
            return make_unit(campaign, prompt="abcdef"[index], index=index, token=token)

        return take

    @pytest.fixture
    def work(self, store, ledger, workforce, take, monkeypatch):
        """Let a new worker render, failing with an error if there is one, as long as it will."""

        def work(error=None, units=100):
            left = []
            pipeline = BrokenPipeline(error)
            with monkeypatch.context() as patch:
                if error:
                    patch.setattr(loaded_models, "load_pipeline", lambda *_: pipeline)
                worker = Renderer(store, ledger, workforce, "w", leave=lambda: left.append(1))
                for _ in range(units):
                    if not left:
                        worker.render(take())
                worker.close()
            return worker, left

        return work

    def test_a_worker_that_fails_five_prompts_leaves_and_has_parked_nothing(
        self, work, store, ledger, workforce, campaign, caplog
    ):
        worker, left = work(RuntimeError("CUDA error"))
        assert left == [1]
        assert "failed 5 different prompts in a row" in worker.why_out
        assert "check its device, cpu" in worker.why_out
        assert "CUDA error" in worker.why_out
        (said,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert said.getMessage() == worker.why_out
        counts = ledger.counts(campaign.campaign_id)
        assert (counts.parked, counts.claimed, counts.queued, counts.failing) == (0, 0, 0, 5)
        assert load_parked(store, campaign.campaign_id) == []
        (sign,) = workforce.signs()
        assert (sign.worker.why_out, sign.alive) == (worker.why_out, False)

    def test_another_worker_makes_all_that_it_failed(self, work, ledger, campaign):
        work(RuntimeError("CUDA error"))
        worker, left = work(units=6)
        assert (worker.why_out, left) == ("", [])
        counts = ledger.counts(campaign.campaign_id)
        assert (counts.done, counts.parked, counts.failing) == (6, 0, 0)

    def test_once_out_it_claims_nothing_and_hands_back_what_it_is_given(
        self, work, take, store, ledger, campaign
    ):
        worker, _ = work(RuntimeError("CUDA error"))
        unit = take()
        worker.render(unit)
        assert not store.exists(unit_shard(unit))
        assert ledger.counts(campaign.campaign_id).queued == 0
        assert unit.index in ledger.issue(campaign.campaign_id, 6)[1]

    def test_units_that_every_worker_fails_are_parked_by_the_third(
        self, work, store, ledger, campaign
    ):
        for parked in (0, 0, 5):
            _, left = work(GenerationError("The size is odd; take another."))
            assert left == [1]
            assert ledger.counts(campaign.campaign_id).parked == parked
            assert len(load_parked(store, campaign.campaign_id)) == parked

    def test_broken_prompts_with_a_success_in_between_are_parked_and_the_worker_stays(
        self, take, store, ledger, campaign, workforce, monkeypatch, wait_until
    ):
        whole = load_pipeline(store, campaign, "cpu", 1)

        class Choosy:
            def generate(self, prompt, seeds):
                if prompt != "e":
                    raise GenerationError("The prompt is too long; leave it out.")
                return whole.generate(prompt, seeds)

        monkeypatch.setattr(loaded_models, "load_pipeline", lambda *_: Choosy())
        worker = Renderer(store, ledger, workforce, "w")
        for _ in range(3 * 4 + 1):
            worker.render(take())
        wait_until(lambda: ledger.counts(campaign.campaign_id).done == 1)
        for _ in range(3):
            worker.render(take())
        worker.close()
        assert worker.why_out == ""
        assert [parked.index for parked in load_parked(store, campaign.campaign_id)] == [
            0,
            1,
            2,
            3,
            5,
        ]

    def test_what_is_nobodys_fault_takes_no_worker_out(self, work, ledger, campaign, monkeypatch):
        monkeypatch.setattr(failures, "PAUSE_WHEN_STORE_FAILS", 0.0)
        for error in (StoreUnavailableError("away"), ConfigError("wrong"), TransientError("away")):
            _, left = work(error, units=8)
            assert left == []
        assert ledger.counts(campaign.campaign_id).failing == 0

    def test_a_model_that_no_worker_can_load_takes_none_out(self, work, ledger, campaign):
        _, left = work(ModelLoadError("not here"), units=18)
        assert left == []
        assert ledger.counts(campaign.campaign_id).parked == 6
