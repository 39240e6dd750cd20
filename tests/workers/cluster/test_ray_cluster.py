import contextlib
import signal
from functools import partial
from types import SimpleNamespace

import pytest

from seedsweep.scheduler.campaign.restore import load_plan
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.errors import (
    ConfigError,
    RayUnavailableError,
    StoreUnavailableError,
    TrainingSetError,
)
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.settings.analysis import Analysis, AnalysisSettings, Verification
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.analysts.actor_pool import analyse
from seedsweep.workers.analysts.prompt_result import analyse_prompt
from seedsweep.workers.analysts.stored_prompt import read_prompt
from seedsweep.workers.cluster import ray_cluster
from seedsweep.workers.cluster.ray_cluster import Actors, _own_sigterm, first_answer, joined_ray
from seedsweep.workers.monitoring import metrics
from tests.support import servers
from tests.support.campaigns import make_campaign, make_images, make_submission

PROMPTS = [f"prompt {i}" for i in range(8)]
SETTINGS = AnalysisSettings(analysis=Analysis(min_clique_size=3))


@pytest.fixture(scope="module")
def stored(tmp_path_factory, make_unit):
    """A store with eight prompts of a noise campaign, all generated; tests only read it."""
    store, campaign = FolderStore(tmp_path_factory.mktemp("store")), make_campaign(seeds=12)
    submission = store_campaign(store, make_submission(campaign), PROMPTS)
    make_images(store, load_plan(store, submission))
    return store, submission


def requests(submission, settings=SETTINGS, prompts=PROMPTS):
    campaign_id = submission.campaign.campaign_id
    return [AnalysisRequest(campaign_id, text, settings) for text in prompts]


@pytest.fixture(scope="module")
def here(stored):
    """What the actors of a Ray on this machine found, some prompts of which came late."""
    store, submission = stored
    wanted = requests(submission)
    waiting = iter([None, *wanted[:3], None, None, *wanted[3:]])
    return {a.request: a.value for a in analyse(waiting, store.url, Actors(2)) if a}


@pytest.fixture(scope="module")
def cluster(here):
    """A Ray cluster, that begins once this process has had a Ray of its own, and so a token. Its
    nodes have other keys than this process."""
    strange = {"AWS_ACCESS_KEY_ID": "stranger", "AWS_SECRET_ACCESS_KEY": "stranger" * 5}
    with servers.ray_cluster(**strange) as address:
        yield address


def test_the_answer_to_sigterm_stays_the_callers_also_while_ray_starts():
    """Ray's own comes in `init`, and is taken away in `shutdown`."""
    utils = SimpleNamespace(set_sigterm_handler=partial(signal.signal, signal.SIGTERM))
    ray, replace = SimpleNamespace(_private=SimpleNamespace(utils=utils)), utils.set_sigterm_handler
    own = lambda *_: None  # noqa: E731
    before = signal.signal(signal.SIGTERM, own)
    try:
        with contextlib.suppress(KeyboardInterrupt), _own_sigterm(ray):
            utils.set_sigterm_handler(signal.SIG_IGN)
            assert signal.getsignal(signal.SIGTERM) is own
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise KeyboardInterrupt
        assert utils.set_sigterm_handler is replace
        assert signal.getsignal(signal.SIGTERM) is own
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with _own_sigterm(ray):  # a caller without an answer has Ray's
            assert utils.set_sigterm_handler is replace
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ray_actors_give_the_results_of_a_plain_loop(stored, here):
    store, submission = stored
    expected = {}
    for request in requests(submission):
        prompt = read_prompt(store, submission, request.prompt)
        expected[request] = analyse_prompt(prompt, SETTINGS, None)
    assert here == expected
    assert any(result.flagged for result in expected.values())


def actors_shown():
    return tuple(
        metrics.RAY_ACTORS.labels(state)._value.get()  # what a scrape would show
        for state in ("busy", "idle")
    )


def test_it_is_shown_how_many_actors_are_busy_and_each_gets_a_prompt_before_one_gets_two(
    stored, cluster
):
    store, submission = stored
    first, second, third = requests(submission, prompts=PROMPTS[:3])
    shown, finished = [], []

    def wanted():
        yield None
        yield first
        while not finished:
            yield None
        yield from (second, third)

    for analysed in analyse(wanted(), store.url, Actors(2, address=cluster)):
        shown.append(actors_shown())
        finished += [analysed] if analysed else []
    assert len(finished) == 3
    assert shown[0] == (0, 2)
    assert (1, 1) in shown
    assert (2, 0) in shown
    assert actors_shown() == (0, 0)


def test_a_training_set_that_cannot_be_read_is_said_of_each_prompt_and_spares_the_others(
    stored, cluster, tmp_path
):
    store, submission = stored
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    verification = Verification(training_set=str(tmp_path / "pictures"))
    settings = SETTINGS.model_copy(update={"verification": verification})
    wanted = [*requests(submission, settings, PROMPTS[:2]), *requests(submission)[2:4]]
    found = [a for a in analyse(wanted, store.url, Actors(1, address=cluster)) if a]
    failed = [a for a in found if a.error is not None]
    assert {a.request.prompt for a in failed} == set(PROMPTS[:2])
    assert len(found) == 4
    with pytest.raises(TrainingSetError, match=r"broken\.png") as raised:
        assert failed[0].value
    assert "\n" not in str(raised.value)


def test_the_actors_of_a_cluster_give_the_same_results(stored, here, cluster):
    store, submission = stored
    analysed = analyse(requests(submission), store.url, Actors(2, address=cluster))
    there = {a.request: a.value for a in analysed if a}
    assert there == here
    assert len(there) == len(PROMPTS)


def test_a_cluster_that_does_not_answer_is_unavailable(stored, free_port):
    store, submission = stored
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(RayUnavailableError, match="SEEDSWEEP_RAY_ADDRESS"):
        list(analyse(requests(submission), store.url, Actors(1, address=address)))


def test_nodes_that_cannot_read_the_store_are_said_before_a_prompt_is_taken(
    cluster, s3_url, free_port
):
    taken = []
    nowhere = f"s3://tests/x?endpoint=http://127.0.0.1:{free_port()}"
    for url, said in [
        (s3_url, f"{cluster} cannot read the store .*unknown access key.*; give them"),
        (nowhere, "Connection refused"),
    ]:
        with pytest.raises(StoreUnavailableError, match=said):
            list(analyse(map(taken.append, [1]), url, Actors(1, address=cluster)))
    assert taken == []


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "auto"])
def test_an_address_that_names_no_cluster_is_refused(stored, address):
    store, submission = stored
    with pytest.raises(ConfigError, match="HOST:PORT"):
        list(analyse(requests(submission), store.url, Actors(1, address=address)))


def test_a_cluster_whose_cpus_are_all_taken_is_waited_for_and_answers_all_the_same(
    stored, cluster, monkeypatch
):
    store, _ = stored
    monkeypatch.setattr(ray_cluster, "SOON_SECONDS", 0.1)
    with joined_ray(1, cluster) as ray:
        waiting = ray.remote(num_cpus=99)(AnalysisActor).remote(store.url)
        assert first_answer(ray, cluster, waiting, max, 1, 2) == 2


def test_a_gpu_that_ray_does_not_have_is_refused_instead_of_waited_for(stored, cluster):
    store, submission = stored
    with pytest.raises(ConfigError, match="--device cuda"):
        list(analyse(requests(submission), store.url, Actors(1, "cuda", cluster)))


def test_a_device_that_does_not_exist_is_said_of_each_prompt(stored):
    store, submission = stored
    (request,) = requests(submission, prompts=PROMPTS[:1])
    analysed = AnalysisActor(store.url, "cuda:99").analyse(request)
    assert isinstance(analysed.error, ConfigError)
    assert "cuda:99" in str(analysed.error)
