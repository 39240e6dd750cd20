import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from seedsweep.scheduler.doctor import checks
from seedsweep.scheduler.doctor.checks import examine
from seedsweep.scheduler.doctor.diagnosis import Diagnosis, exit_code
from seedsweep.scheduler.doctor.probes import ask_apart, ask_torch
from seedsweep.scheduler.environment import Environment
from seedsweep.storage.errors import (
    SeedsweepError,
    TransientError,
)
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.life_signs import Demand
from seedsweep.storage.records import Worker
from seedsweep.storage.s3.store import S3Store
from seedsweep.storage.store import StoreFacts
from tests.support.campaigns import campaign_file, nothing_done, small_sampling
from tests.support.diagnoses import failure, verdicts
from tests.support.servers import ray_cluster
from tests.support.tiny_model import save_tiny_model


@pytest.fixture
def write_campaign(tmp_path):
    """Write a campaign file; returns its path."""

    def write(width=16, **model):
        sampling = small_sampling(4, 16, width=width)
        model = model or {"pipeline": "noise"}
        file = tmp_path / "campaign.toml"
        return campaign_file(file, ["a cat"], model=model, sampling=sampling)

    return write


def test_where_all_is_well_everything_is_looked_at_and_nothing_fails(
    broker_url, store_url, write_campaign
):
    environment = Environment(broker_url=broker_url)
    found = list(examine(environment, store_url, write_campaign()))
    assert {diagnosis.about for diagnosis in found} >= {
        "broker",
        "store",
        "Ray",
        "devices",
        "model",
    }
    assert exit_code(found) == 0
    (ray,) = [diagnosis for diagnosis in found if diagnosis.about == "Ray"]
    assert ray.verdict == "fine"
    assert "127.0.0.1" in ray.says
    assert list(FolderStore(Path(store_url.removeprefix("file:"))).list("")) == []
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


def test_the_exit_code_is_that_of_the_worst_finding():
    fine, warning = Diagnosis("x", "fine", ""), Diagnosis("x", "warning", "")
    failed, away = Diagnosis("x", "failure", ""), Diagnosis("x", "failure", "", unreachable=True)
    assert exit_code([]) == exit_code([fine, warning]) == 0
    assert exit_code([fine, failed, warning]) == 2
    assert exit_code([failed, away, failed]) == 3


def test_an_error_in_a_check_is_a_finding_and_the_others_go_on(look, monkeypatch):
    def stumble(environment):
        yield Diagnosis("broker", "fine", "So far so good.")
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(checks, "_broker", stumble)
    failure(look("broker"), "ZeroDivisionError", "by zero")
    assert "store" in [diagnosis.about for diagnosis in look()]


# The broker


def test_no_broker_is_worth_a_warning(look):
    (found,) = look("broker")
    assert found.verdict == "warning"
    assert "SEEDSWEEP_BROKER_URL" in found.remedy


def test_who_is_missing_while_work_waits_is_worth_a_warning(look, broker_url, ledger, workforce):
    (idle,) = look("services", broker_url=broker_url)
    assert (idle.verdict, idle.says) == ("warning", "No scheduler leads, so nothing is queued.")
    assert "the way you deployed" in idle.remedy
    ledger.restore("small-1", nothing_done(3, done=np.array([True, False, False]), ready=(0,)))
    missing = look("services", broker_url=broker_url)
    assert [each.says for each in missing[1:]] == [
        "No worker lives, and 2 units wait.",
        "No analyst lives, and 1 prompt waits.",
    ]
    assert set(verdicts(missing)) == {"warning"}
    assert workforce.lead()
    workforce.beat(Worker(name="w", host="", device="cpu", model="", images=0, images_per_second=0))
    workforce.beat_analyst("a")
    workforce.demand({"later-m": Demand(1, 2, campaigns=("small-1",))})
    unknown, _ = look("services", broker_url=broker_url)
    assert (unknown.verdict, unknown.says) == (
        "warning",
        "2 units of the kind 'later' wait, and the only worker that lives does not know it.",
    )
    assert unknown.remedy == "Give workers the version that the scheduler has."
    workforce.demand({})
    (served,) = look("services", broker_url=broker_url)
    assert (served.verdict, served.says) == (
        "fine",
        "A scheduler leads; 1 analyst and 1 worker live.",
    )


# The store and its disk


def test_a_stores_speed_is_measured_and_nothing_is_left(look, store_url, tmp_path):
    (found,) = look("store")
    assert found.verdict == "fine"
    assert "MB/s" in found.says
    assert store_url in found.says
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_a_store_that_cannot_be_written_is_unreachable_and_the_rest_is_looked_at(look, tmp_path):
    (tmp_path / "taken").write_text("a file")
    found = look(store=f"file:{tmp_path / 'taken' / 'data'}")
    assert failure(found, "taken/data", code=3).about == "store"
    assert "devices" in [diagnosis.about for diagnosis in found]


def test_a_url_that_names_no_store_fails(look):
    found = look("store", store="ftp://somewhere")
    failure(found, "ftp")


def test_a_folder_has_no_bucket_to_create(look):
    assert verdicts(look("store", create_bucket=True)) == ["warning", "fine"]


class OtherStore(FolderStore):
    """A folder store that says of itself what a test wants."""

    facts = StoreFacts(conditional_create=True, clock_skew_seconds=0.0)

    def inspect(self):
        return self.facts


@pytest.mark.parametrize(
    ("facts", "expected", "words"),
    [
        (StoreFacts(True, 59.0), [], []),
        (StoreFacts(True, 61.0), ["warning"], ["61 s", "NTP"]),
        (StoreFacts(True, -61.0), ["warning"], ["61 s"]),
        (StoreFacts(True, -901.0), ["failure"], ["901 s"]),
        (StoreFacts(False, 0.0), ["warning"], ["last one wins"]),
        (StoreFacts(True, 0.0, checked_by="Content-MD5"), ["fine"], ["by Content-MD5 instead"]),
        (StoreFacts(True, 0.0, credentials="a role"), ["fine"], ["credentials come from a role"]),
    ],
)
def test_what_a_store_says_of_itself_is_judged(look, tmp_path, monkeypatch, facts, expected, words):
    monkeypatch.setattr(OtherStore, "facts", facts)
    monkeypatch.setattr(checks, "open_store", lambda url: OtherStore(tmp_path / "store"))
    found = look("store")
    assert verdicts(found) == ["fine", *expected]
    for word in words:
        assert word in found[1].says + found[1].remedy


def test_a_store_that_gives_back_something_else_fails(look, tmp_path, monkeypatch):
    store = OtherStore(tmp_path / "store")
    monkeypatch.setattr(checks, "open_store", lambda url: store)
    monkeypatch.setattr(store, "read", lambda key: b"something else")
    failure(look("store"), "give back")
    assert list(store.list("")) == []


def test_a_real_s3_server_is_fine(look, s3_url):
    found = look("store", store=s3_url)
    assert exit_code(found) == 0
    assert "MB/s" in found[0].says
    (words,) = [each.says for each in found if "credentials" in each.says]
    assert words == "Its credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    assert list(S3Store(s3_url).list("")) == []
    assert look("disk", store=s3_url) == []


def test_a_missing_bucket_is_made_when_that_is_asked_for(look, s3_server):
    url = f"s3://not-there-yet?endpoint={s3_server.endpoint}"
    failure(look("store", store=url), "bucket", "--create-bucket")
    assert exit_code(look("store", store=url, create_bucket=True)) == 0
    assert exit_code(look("store", store=url, create_bucket=True)) == 0


def test_wrong_credentials_fail_without_being_printed(look, s3_url, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wr0ng-secret")
    found = look("store", store=s3_url)
    failure(found, "secret")
    assert "wr0ng-secret" not in str(found)


def test_little_room_on_the_disk_or_in_shared_memory_is_worth_a_warning(look, monkeypatch):
    assert verdicts(look("disk")) == ["fine"]
    monkeypatch.setattr(checks, "DISK_BYTES", 10**18)
    monkeypatch.setattr(checks, "SHARED_BYTES", 10**18)
    assert verdicts(look("disk")) == ["warning"]
    monkeypatch.setattr(checks, "SHARED_MEMORY", Path("/"))
    (found,) = look("shared memory")
    assert found.verdict == "warning"
    assert "--shm-size" in found.remedy


# Ray


@pytest.fixture(scope="module")
def open_cluster():
    """The address of a Ray cluster without tokens."""
    with ray_cluster(RAY_AUTH_MODE="disabled") as address:
        yield address


def test_a_ray_cluster_is_joined_and_counted(store_url, open_cluster, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    found = list(examine(Environment(ray_address=open_cluster), store_url, None))
    (ray,) = [diagnosis for diagnosis in found if diagnosis.about == "Ray"]
    assert ray.verdict == "fine", ray
    assert f"at {open_cluster} has 1 node with 3 CPUs" in ray.says


def test_a_ray_cluster_with_a_token_of_its_own_refuses_and_says_what_to_set(store_url):
    with ray_cluster(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="of-the-cluster" * 4) as address:
        found = list(examine(Environment(ray_address=address), store_url, None))
    assert failure(found, address, "RAY_AUTH_TOKEN").about == "Ray"


def test_a_ray_cluster_without_tokens_that_would_end_our_actors_is_refused(
    store_url, open_cluster, monkeypatch
):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-this-machine" * 4)
    found = list(examine(Environment(ray_address=open_cluster), store_url, None))
    assert "runs no actor of ours" in failure(found, open_cluster, "RAY_AUTH_MODE").says


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_ray_cluster_that_is_not_there_is_unreachable_at_once(store_url, free_port, form):
    address = form.format(free_port())
    found = list(examine(Environment(ray_address=address), store_url, None))
    assert failure(found, address, code=3).about == "Ray"


@pytest.mark.parametrize("address", ["127.0.0.1:port", "ray://[127.0.0.1:6379"])
def test_a_ray_address_that_cannot_be_read_is_refused(store_url, address):
    found = list(examine(Environment(ray_address=address), store_url, None))
    failure(found, address, "HOST:PORT")


def test_a_ray_that_others_can_reach_without_a_token_is_worth_a_warning(store_url, monkeypatch):
    answer = {"version": "2", "seconds": 1.0, "nodes": 1, "cpus": 2.0, "host": "10.0.0.7"}

    def see(**facts):
        monkeypatch.setattr(checks, "ask_apart", lambda *_, seconds: answer | facts)
        found = examine(Environment(), store_url, None)
        return verdicts(diagnosis for diagnosis in found if diagnosis.about == "Ray")

    assert see(open=True, token=False) == ["fine", "warning"]
    assert see(open=True, token=True) == ["fine"]
    assert see(open=False, token=False) == ["fine"]


# Devices


def test_a_machine_without_a_device_is_fine(look, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (found,) = look("devices")
    assert (found.verdict, "cpu only" in found.says) == ("fine", True)


def test_a_device_with_a_torch_for_the_cpu_fails(look, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    if ask_apart(ask_torch, seconds=60)["cuda"]:
        pytest.skip("this torch is built for CUDA")
    failure(look("devices"), "built for the CPU", "CUDA build")


def test_devices_are_named_with_their_memory(look, monkeypatch):
    answer = {
        "version": "2.13.0",
        "cuda": "13.0",
        "devices": [{"name": "GPU", "bytes": 80 * 10**9}],
    }
    monkeypatch.setattr(checks, "ask_apart", lambda *_, seconds: answer)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    (found,) = look("devices")
    assert (found.verdict, found.says) == ("fine", "cuda:0 is GPU with 80.0 GB.")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    failure(look("devices"), "2 NVIDIA devices", "sees 1")


# The model


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-model")
    save_tiny_model(folder)
    return folder


def test_a_model_is_loaded_and_measured(look, write_campaign, tiny_model):
    (found,) = look("model", campaign=write_campaign(path=str(tiny_model)))
    assert found.verdict == "fine", found
    for words in ("StableDiffusionPipeline", "million parameters", "float32", "safetensors"):
        assert words in found.says


def test_a_function_is_loaded_where_it_is_allowed_and_refused_elsewhere(
    look, write_campaign, tmp_path, monkeypatch
):
    (tmp_path / "dots.py").write_text("def draw(prompt, seed, width, height): ...")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    campaign = write_campaign(pipeline="python", path="dots:draw")
    failure(look("model", campaign=campaign), "dots:draw", "SEEDSWEEP_ALLOW_PYTHON")
    monkeypatch.setenv("SEEDSWEEP_ALLOW_PYTHON", "dots:draw")
    (found,) = look("model", campaign=campaign)
    assert found.verdict == "fine"
    assert "The pipeline python loads on cpu" in found.says


def test_a_size_that_the_model_was_not_made_for_is_worth_a_warning(
    look, write_campaign, tiny_model, monkeypatch
):
    """The model is loaded in this process, which has torch already."""
    monkeypatch.setattr(checks, "ask_apart", lambda question, *words, seconds: question(*words))
    _, warning = look("model", campaign=write_campaign(path=str(tiny_model), width=32))
    assert warning.verdict == "warning"
    assert "16 x 16" in warning.says
    assert "32 x 16" in warning.says


def test_a_campaign_file_that_is_wrong_is_a_failure_in_its_own_words(
    look, write_campaign, tmp_path
):
    failure(look("model", campaign=tmp_path / "nowhere.toml"), "nowhere.toml", "check the path")
    wrong = write_campaign(pipline="noise")
    failure(look("model", campaign=wrong), "model.pipline", "did you mean pipeline?")
    unnamed = write_campaign(path=str(tmp_path / "no-model"))
    failure(look("model", campaign=unnamed), "no-model")


def test_a_model_with_broken_weights_fails_in_one_sentence(look, write_campaign, tmp_path):
    folder = tmp_path / "model"
    save_tiny_model(folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"broken")
    failure(look("model", campaign=write_campaign(path="model")), str(folder))


# A process of its own


def test_a_question_that_takes_too_long_is_given_up():
    with pytest.raises(TransientError, match=r"within 0\.01 s"):
        ask_apart(ask_torch, seconds=0.01)


def test_a_question_whose_process_dies_is_answered_with_its_last_words():
    def no_such_question():
        return {}

    with pytest.raises(SeedsweepError, match=r"no_such_question.*; mend that first"):
        ask_apart(no_such_question, seconds=60)


def test_findings_can_be_printed_as_json():
    diagnosis = dataclasses.asdict(Diagnosis("broker", "fine", "It answers."))
    assert json.loads(json.dumps(diagnosis))["about"] == "broker"
