"""`seedsweep replay`: images made again, from the command line on."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from seedsweep.audit.replay.replay import Replays
from seedsweep.audit.replay.replay_words import replay_words
from seedsweep.cli import main as command_line
from seedsweep.cli import progress_bars
from seedsweep.storage import keys
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.receipts import Receipt, store_receipt
from seedsweep.storage.record import digest
from seedsweep.storage.records import Prompt, Provenance
from seedsweep.storage.replay_results import Distance, FactDifference, Replay
from seedsweep.storage.shards import decode_shard, encode_shard
from seedsweep.workers.images import digest_pixels, encode_png
from tests.support.campaigns import (
    campaign_file,
    make_images,
    park_unit,
    small_sampling,
    submit_file,
)
from tests.support.results import make_result
from tests.support.tiny_model import save_tiny_model

PROMPTS = ["a cat", "a [red]dog[/red]", "an owl"]
FIELDS = {
    *("prompt_id", "prompt", "seed", "sha256", "sha256_here"),
    *("distance", "here", "differences"),
}


class Desk:
    """A folder with a campaign of three prompts and six units, all of which are made."""

    def __init__(self, folder, **tables):
        sampling = small_sampling(4, 16, steps=2, images_per_unit=2)
        file = folder / "campaign.toml"
        campaign_file(file, PROMPTS, keep="flagged", sampling=sampling, **tables)
        self.store = FolderStore(folder / "seedsweep-data")
        self.plan = submit_file(self.store, file)
        self.id = self.plan.campaign.campaign_id
        make_images(self.store, self.plan)

    def key(self, index):
        return keys.unit_shard(self.plan.unit(index))

    def images(self, index):
        return decode_shard(self.store.read(self.key(index)), self.key(index))

    def alter(self, index, change):
        images = [change(image) for image in self.images(index)]
        self.store.replace(self.key(index), encode_shard(self.plan.unit(index), images))

    def park(self, index):
        park_unit(self.store, self.plan, index)
        self.store.delete(self.key(index))

    def keep_no_pictures(self, prompt):
        units = [2 * prompt, 2 * prompt + 1]
        images = tuple(image for index in units for image in self.images(index))
        result = make_result(
            prompt_id=self.plan.unit(units[0]).prompt_id,
            prompt=PROMPTS[prompt],
            seeds_digest=digest([image.seed for image in images]),
        )
        store_receipt(self.store, self.plan.campaign, Receipt(images, "0" * 16, result))
        for index in units:
            self.store.delete(self.key(index))


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def replay(tmp_path, monkeypatch, capsys):
    """Run the command in the folder; returns code and output as a shell would."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["seedsweep", "replay", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run


def refused(finished, *words):
    """Exit code 2, nothing on stdout, and one sentence without a traceback on stderr."""
    assert (finished.returncode, finished.stdout) == (2, "")
    assert len(finished.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in finished.stderr
    return True


def negative(image):
    """The image as if another picture had been made: its record is right in itself."""
    pixels = np.full((16, 16, 3), 9, np.uint8)
    return dataclasses.replace(image, png=encode_png(pixels), sha256=digest_pixels(pixels))


def of_old(image):
    provenance = image.provenance.model_copy(update={"versions": "numpy 1.0"})
    return dataclasses.replace(image, provenance=provenance)


@pytest.mark.parametrize("name", [PROMPTS[1], f" {PROMPTS[1]} ", Prompt(text=PROMPTS[1]).prompt_id])
def test_an_image_is_named_by_its_prompts_text_or_id_and_its_seed(desk, replay, name):
    finished = replay(desk.id, "--prompt", name, "--seed", "3")
    assert finished.returncode == 0, finished.stderr
    assert "1 of 1 equal bit for bit." in finished.stdout
    assert PROMPTS[1] in finished.stdout


def test_scripts_get_the_counts_and_every_record(desk, replay):
    desk.alter(1, negative)
    desk.alter(2, lambda image: of_old(negative(image)))
    finished = replay(desk.id, "--sample", "99", "--json")
    assert finished.returncode == 1, finished.stderr
    found = json.loads(finished.stdout)
    records = found.pop("replays")
    assert found == {
        "campaign": desk.id,
        "images": 12,
        "equal": 8,
        "explained": 2,
        "unexplained": 2,
        "not_made": 0,
        "parked": 0,
    }
    assert all(set(record) == FIELDS for record in records)
    replays = [Replay.model_validate(record) for record in records]
    assert [(r.prompt, r.seed) for r in replays] == [(p, s) for p in PROMPTS for s in range(4)]
    assert [r.is_equal for r in replays] == [True] * 2 + [False] * 4 + [True] * 6
    assert all(0 < r.distance.l2 <= r.distance.tiled_l2 for r in replays if not r.is_equal)
    assert replays[4].differences[0].recorded == "1.0"


def test_people_get_a_table_and_what_all_came_to(desk, replay):
    desk.alter(2, lambda image: of_old(negative(image)))
    finished = replay(desk.id, "--sample", "99")
    assert finished.returncode == 0, finished.stderr
    assert "versions.numpy 1.0 → " in finished.stdout
    assert "10 of 12 equal bit for bit; 2 within l2 0." in finished.stdout
    assert "where not all is as recorded: versions.numpy." in finished.stdout


def test_pixels_that_differ_though_nothing_recorded_does_end_with_exit_code_1(desk, replay):
    desk.alter(2, negative)
    finished = replay(desk.id, "--prompt", PROMPTS[1], "--seed", "0")
    assert finished.returncode == 1
    assert "nothing recorded differs" in finished.stdout
    assert "0 of 1 equal bit for bit; 1 within l2 0." in finished.stdout
    assert "Of a CPU the type is not recorded" in finished.stdout
    assert replay(desk.id, "--prompt", PROMPTS[1], "--seed", "2").returncode == 0


def test_a_sample_is_the_same_again_and_another_with_another_seed(desk, replay):
    def drawn(*more):
        found = json.loads(replay(desk.id, "--sample", "4", "--json", *more).stdout)
        return [(r["prompt"], r["seed"]) for r in found["replays"]]

    assert drawn() == drawn() == drawn("--sample-seed", "0")
    assert len(set(drawn())) == 4
    assert drawn() != drawn("--sample-seed", "1")


def test_a_sample_passes_over_what_is_parked_or_not_made_and_says_so(desk, replay):
    desk.park(5)
    desk.store.delete(desk.key(0))
    desk.store.delete(desk.key(1))
    found = json.loads(replay(desk.id, "--sample", "99", "--json").stdout)
    assert (found["equal"], found["not_made"], found["parked"]) == (6, 4, 2)
    said = replay(desk.id, "--sample", "99").stdout
    assert "left out: 4 images not made, 2 whose units are parked." in said


def test_images_that_were_not_kept_are_compared_by_their_recorded_digest(desk, replay):
    desk.alter(2, negative)
    for prompt in (0, 1):
        desk.keep_no_pictures(prompt)
    finished = replay(desk.id, "--sample", "99")
    assert finished.returncode == 1
    assert "10 of 12 equal bit for bit; 2 at an unknown distance, since" in finished.stdout
    found = json.loads(replay(desk.id, "--prompt", PROMPTS[1], "--seed", "1", "--json").stdout)
    assert found["replays"][0]["distance"] is None


def test_in_a_log_progress_is_plain_lines_on_stderr(desk, replay, monkeypatch):
    monkeypatch.setattr(progress_bars, "LINE_SECONDS", 0.0)
    finished = replay(desk.id, "--sample", "3", "--json")
    assert "images made again: 3/3" in finished.stderr
    assert json.loads(finished.stdout)["images"] == 3


def test_what_the_campaign_does_not_have_is_refused(desk, replay):
    assert refused(replay(desk.id, "--prompt", "a cow", "--seed", "0"), "a cow", "prompt_id")
    assert refused(replay(desk.id, "--prompt", "a cat", "--seed", "4"), "no seed 4", "0 to 3")
    assert refused(replay("other", "--prompt", "a cat", "--seed", "0"), "other", desk.id)
    desk.store.delete(desk.key(0))
    assert refused(replay(desk.id, "--prompt", "a cat", "--seed", "1"), "not made yet")
    desk.park(1)
    parked = replay(desk.id, "--prompt", "a cat", "--seed", "2")
    assert refused(parked, "parked (no luck)", f"resume {desk.id} --failed")
    for index in range(6):
        desk.store.delete(desk.key(index))
    assert refused(replay(desk.id, "--sample", "3"), "no stored image")


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["--prompt", "a cat"], ["--seed", "1"], ["--sample", "2", "--seed", "1"]),
        ["--sample", "2", "--prompt", "a cat"],
    ],
)
def test_one_image_or_a_sample_has_to_be_named(desk, replay, arguments):
    assert refused(replay(desk.id, *arguments), "--prompt and --seed", "--sample")


def test_a_device_that_is_not_here_is_refused(desk, replay):
    assert refused(replay(desk.id, "--sample", "2", "--device", "cuda:99"), "cuda:99", "cpu")


def test_a_corrupt_image_is_refused_naming_its_shard(desk, replay):
    other = encode_png(np.zeros((16, 16, 3), np.uint8))
    desk.alter(0, lambda image: dataclasses.replace(image, png=other))
    assert refused(replay(desk.id, "--prompt", "a cat", "--seed", "0"), desk.key(0), "sha256")
    desk.store.replace(desk.key(0), b"no shard")
    assert refused(replay(desk.id, "--sample", "99"), desk.key(0), "not what was written")


def test_a_real_model_makes_equal_images_again_until_its_files_change(tmp_path, replay):
    save_tiny_model(tmp_path / "model")
    desk = Desk(tmp_path, model={"path": "model"})
    finished = replay(desk.id, "--sample", "5", "--threads", "1")
    assert finished.returncode == 0, finished.stderr
    assert "5 of 5 equal bit for bit." in finished.stdout
    found = json.loads(replay(desk.id, "--sample", "5", "--threads", "2", "--json").stdout)
    (fact,) = found["replays"][0]["differences"]
    assert fact == {"fact": "threads", "recorded": "1", "here": "2"}

    config = tmp_path / "model" / "unet" / "config.json"
    config.write_text(config.read_text() + "\n")
    finished = replay(desk.id, "--sample", "5")
    assert refused(finished, "not the one that was submitted", desk.plan.campaign.model.fingerprint)


HERE = Provenance(batch_size=1, threads=1, device="cpu", dtype="uint8", versions="", recipe="{}")


def one(l2, *facts, device="cpu"):
    """A replay at this distance, 0 for equal and None for unknown, with these facts otherwise."""
    return Replay(
        prompt_id="0" * 16,
        prompt="a cat",
        seed=0,
        sha256="0" * 64,
        sha256_here=("0" if l2 == 0 else "1") * 64,
        distance=None if l2 is None else Distance(l2=l2, tiled_l2=l2, levels=1, share=1),
        here=HERE.model_copy(update={"device": device}),
        differences=[FactDifference(fact=fact, recorded="1", here="2") for fact in facts],
    )


@pytest.mark.parametrize(
    ("replays", "said"),
    [
        ([one(0), one(0, "threads")], ["2 of 2 equal bit for bit."]),
        (
            [one(0), one(3e-5, "threads"), one(4e-4, "versions.torch", "threads")],
            [
                "1 of 3 equal bit for bit; 2 within l2 0.0004, where not all is as recorded: "
                "threads, versions.torch."
            ],
        ),
        (
            [one(0.5, device="NVIDIA H100"), one(None, device="NVIDIA H100"), one(None, "device")],
            [
                "0 of 3 equal bit for bit; 1 at an unknown distance, since its picture was not "
                "kept, where not all is as recorded: device; 1 within l2 0.5 and 1 at an unknown "
                "distance, since its picture was not kept, though nothing recorded differs."
            ],
        ),
    ],
)
def test_the_summary_says_how_many_and_how_far_and_why(replays, said):
    assert [*replay_words(Replays("small", tuple(replays)))] == said
