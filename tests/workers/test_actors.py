import pytest

from storage.errors import TrainingSetError
from storage.records import Analysis, AnalysisSettings, SeedRange, Submission, Verification
from storage.store import FolderStore
from workers.actors import analyse
from workers.pipelines import load_pipeline
from workers.prompt_analysis import analyse_prompt, read_prompt
from workers.writer import store_unit

PROMPTS = [f"prompt {i}" for i in range(8)]
SETTINGS = AnalysisSettings(analysis=Analysis(min_clique_size=3))


@pytest.fixture
def stored(tmp_path, make_campaign, make_unit):
    """A store with eight prompts of a noise campaign, all generated."""
    store, campaign = FolderStore(tmp_path / "store"), make_campaign(seeds=12)
    pipeline = load_pipeline(campaign, "cpu", 1)
    for text in PROMPTS:
        unit = make_unit(campaign, prompt=text, last=11)
        store_unit(store, unit, pipeline.generate(text, range(12)))
    submission = Submission(
        campaign=campaign, cuts=(SeedRange(first=0, last=11),), submitted_at="", versions=""
    )
    return store, submission


def test_ray_actors_give_the_results_of_a_plain_loop(stored):
    store, submission = stored
    waiting = iter([None, *PROMPTS[:3], None, None, *PROMPTS[3:]])
    found = [a for a in analyse(submission, SETTINGS, waiting, store.url, actors=2) if a]
    expected = []
    for text in PROMPTS:
        prompt_id = next(a.result.prompt_id for a in found if a.result.prompt == text)
        campaign = submission.campaign
        images = read_prompt(store, campaign.generation_id, prompt_id, submission.cuts)
        expected.append(analyse_prompt(text, images, campaign.sampling, SETTINGS, None))
    by_prompt = sorted((a.result for a in found), key=lambda r: PROMPTS.index(r.prompt))
    assert by_prompt == expected
    assert any(result.flagged for result in expected)


def test_a_training_set_that_cannot_be_read_is_said_in_one_sentence(stored, tmp_path):
    store, submission = stored
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    verification = Verification(training_set=str(tmp_path / "pictures"))
    settings = SETTINGS.model_copy(update={"verification": verification})
    with pytest.raises(TrainingSetError, match=r"broken\.png") as raised:
        list(analyse(submission, settings, PROMPTS, store.url, actors=1))
    assert "\n" not in str(raised.value)
