"""`seedsweep verify`: a training set searched for what flagged prompts repeat."""

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seedsweep.audit.findings import control_pictures, verification
from seedsweep.audit.findings.verification import SearchOptions, is_verified
from seedsweep.audit.findings.verification_summary import summary
from seedsweep.cli import main as command_line
from seedsweep.cli.verification_table import for_scripts
from seedsweep.storage import keys
from seedsweep.storage.campaigns import load_verifications, store_control, store_verification
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.prompt_results import Clique
from seedsweep.storage.records import Control, Prompt
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import drop_results, read_results
from seedsweep.storage.settings.analysis import AnalysisSettings, Verification
from seedsweep.storage.shards import decode_shard
from seedsweep.workers.analysis.matching import nearest_training
from seedsweep.workers.analysis.nearest import describe_training
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.training.pictures import read_pictures
from tests.support.campaigns import campaign_file, make_images, small_sampling, submit_file
from tests.support.pictures import data_of, pixels_of, write_parquet, write_tar
from tests.support.results import make_flagged, make_result
from tests.support.searchers import Here

SAMPLING = small_sampling(4, 16, images_per_unit=2)
PROMPTS = ["a cat", "a [red]dog[/red]", "an owl", "a fox", "an elk", "a gnu"]
SEED = 3
SECOND = 1


def near(picture, seed, levels=5):
    grain = np.random.default_rng(seed).integers(-levels, levels + 1, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def noise(count, seed):
    return np.random.default_rng([seed, 9]).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


class Desk:
    """A folder with a campaign of which five prompts are flagged.

    Two repeat one training picture, of which there are three copies, a third another one; one of
    the two repeats a picture of its own as well; the fourth repeats none, and the fifth's images
    are gone. Of the six control pictures one is in the
    training set all the same.
    """

    def __init__(self, folder):
        self.folder = folder
        self.store = FolderStore(folder / "seedsweep-data")
        file = campaign_file(folder / "campaign.toml", PROMPTS, sampling=SAMPLING)
        self.plan = submit_file(self.store, file)
        self.id = self.plan.campaign.campaign_id
        make_images(self.store, self.plan)
        results = [
            make_flagged(
                prompt_id=Prompt(text=text).prompt_id,
                prompt=text,
                representative_seed=SEED,
                mean_distance=0.01 * (i + 1),
            )
            for i, text in enumerate(PROMPTS[:5])
        ]
        second = Clique(
            clique_seeds=(0, SECOND), mean_distance=0.02, representative_seed=SECOND, match=None
        )
        results[2] = results[2].model_copy(update={"further_cliques": (second,)})
        results.append(make_result(prompt_id=Prompt(text=PROMPTS[5]).prompt_id, prompt=PROMPTS[5]))
        store_results(self.store, self.plan.campaign.analysis_id, self.id, results)
        self.cat, self.dog, _ = (self.representative(i) for i in range(3))
        self.owl = self.representative(2, SECOND)
        self.repeat(2, near(self.cat, 7))
        self.store.delete(self.key(4))
        self.write_sets()

    def key(self, prompt, seed=SEED):
        return keys.unit_shard(self.plan.unit(2 * prompt + seed // 2))

    def representative(self, prompt, seed=SEED):
        key = self.key(prompt, seed)
        [image] = decode_shard(self.store.read(key), key, [seed])
        return pixels_of(image.png)

    def repeat(self, prompt, picture):
        """Have the prompt's representative be this picture."""
        unit = self.plan.unit(2 * prompt + 1)
        pipeline = load_pipeline(self.store, self.plan.campaign, "cpu", 1)
        made = pipeline.generate(unit.prompt, range(unit.seeds.first, unit.seeds.last + 1))
        changed = [
            g if g.seed != SEED else type(g)(g.seed, picture, None, g.provenance) for g in made
        ]
        self.store.replace(self.key(prompt), encode_unit(unit, changed))

    def write_sets(self):
        strangers = [data_of(picture) for picture in noise(60, 0)]
        copies = [data_of(near(self.cat, seed)) for seed in range(3)]
        training = self.folder / "train"
        write_parquet(training / "a.parquet", [*strangers[:30], copies[0], b"no picture"], rows=8)
        write_tar(
            training / "b.tar",
            [
                ("cat.png", copies[1]),
                ("dog.png", data_of(near(self.dog, 0))),
                ("dog.txt", b"a good dog"),
                *((f"s{i}.png", data) for i, data in enumerate(strangers[30:])),
            ],
        )
        (training / "c.png").write_bytes(copies[2])
        (training / "owl.png").write_bytes(data_of(near(self.owl, 1)))
        (training / "cat.json").write_text("{}")
        controls = [data_of(picture) for picture in noise(5, 1)]
        write_parquet(self.folder / "never.parquet", [*controls, strangers[3], b"no picture"])


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("verify"))


def run_verify(desk, monkeypatch, capsys, *arguments):
    monkeypatch.chdir(desk.folder)
    monkeypatch.setattr(sys, "argv", ["seedsweep", "verify", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())


@pytest.fixture
def verify(desk, monkeypatch, capsys):
    """Run the command in the folder; returns code and output as a shell would."""
    return lambda *arguments: run_verify(desk, monkeypatch, capsys, *arguments)


@pytest.fixture(scope="module")
def printed(desk):
    """What the command prints where there is everything to say."""
    command = [sys.executable, "-m", "seedsweep.cli", "verify", desk.id, "--actors", "2"]
    sets = ["--training-set", "train", "--controls", "never.parquet"]
    done = subprocess.run(
        [*command, *sets], cwd=desk.folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(desk, printed):
    """What that run stored."""
    return load_verifications(desk.store, desk.id)[0]


def test_each_flagged_prompt_gets_its_nearest_training_picture_and_all_distances(found):
    cat, dog, owl, _, fox = found.cliques
    assert [clique.prompt for clique in found.cliques] == [*PROMPTS[:3], PROMPTS[2], PROMPTS[3]]
    assert [clique.match.extracted for clique in found.cliques] == [True] * 4 + [False]
    assert dog.match.training_id == "b.tar#dog.png"
    assert dog.match.l2 <= dog.match.tiled_l2 < 0.02
    assert dog.match.adaptive < 0.1
    assert (dog.copies, cat.copies, owl.copies, fox.copies) == (1, 3, 3, 1)
    assert (dog.caption, cat.caption) == ("a good dog", None)
    assert dog.match.transform.resize == "none"
    assert fox.match.l2 > 0.3


def test_each_picture_that_a_prompt_repeats_is_searched_for(found):
    first, second = (clique for clique in found.cliques if clique.prompt == PROMPTS[2])
    assert (first.seed, second.seed) == (SEED, SECOND)
    assert second.match.training_id == "owl.png"
    assert second.match.l2 < 0.02


def test_the_headline_counts_distinct_training_pictures_with_the_prompts_beside(found, printed):
    assert len(found.groups) == 3
    assert ("b.tar#dog.png",) in found.groups
    pictures = len({c.match.training_id for c in found.cliques if c.match.extracted})
    headline = (
        f"Distinct training pictures extracted: 3 ({pictures} with near-copies counted apart). "
        "Prompts that extract them: 3."
    )
    assert headline in printed
    numbers = for_scripts(found)
    assert numbers["distinct_training_pictures_extracted"] == 3
    assert numbers["training_pictures_extracted"] == pictures
    assert numbers["prompts_extracted"] == 3


def test_the_match_rate_of_controls_stands_beside_with_its_interval(found, printed):
    assert (found.controls.searched, found.controls.matches) == (6, 1)
    assert "1/6 = 0.17 [0.00, 0.64] (likewise); 1 could not be read." in printed
    assert "(95 %, exact (Clopper-Pearson), two-sided)" in printed
    assert for_scripts(found)["control_rate"]["count"] == 1


def test_controls_that_cliques_would_extract_estimate_false_extractions(found, printed):
    assert [(m.prompt_id, m.seed) for m in found.controls.of_cliques] == [
        (clique.prompt_id, clique.seed) for clique in found.cliques
    ]
    assert found.controls.false_extractions(1.0) == 0
    told = " ".join(printed.split())
    assert "0 of 5 extract one, falsely. The training set has 10.8 times as many" in told
    # 65 pictures for 6, times 2.996: more than there are cliques.
    assert "6 control pictures are too few to bound how many of the 5 cliques" in told
    assert "(one-sided 95%, Poisson, exact) is 32.5. No control is extracted at any l2." in told


def test_a_clique_that_would_extract_a_control_says_how_many_may_be_false(
    desk, found, on_cluster, tmp_path, monkeypatch, capsys
):
    folder, fox = tmp_path / "copy", desk.representative(3)
    shutil.copytree(desk.folder, folder)
    copied = near(fox, 5)
    strangers = [data_of(picture) for picture in noise(4, 2)]
    write_parquet(folder / "foxes.parquet", [*strangers, data_of(copied)])
    sets = ["--training-set", "train", "--controls", "foxes.parquet"]
    done = run_verify(SimpleNamespace(folder=folder), monkeypatch, capsys, desk.id, *sets)
    assert done.returncode == 0, done.stderr
    [*_, of_fox] = load_verifications(FolderStore(folder / "seedsweep-data"), desk.id)[
        0
    ].controls.of_cliques
    assert of_fox.extracts_from == of_fox.l2 < 0.02
    read = read_pictures(Verification(training_set=str(desk.folder / "train")), 16, 16)
    held = np.stack([*(pixels for _, pixels, _ in read), copied])
    match = nearest_training(fox, describe_training(held), 4, found.settings)
    assert (match.l2, match.adaptive) == (of_fox.l2, of_fox.adaptive)
    told = " ".join(done.stdout.split())
    assert "1 of 5 extract one, falsely. The training set has 13 times" in told
    assert "5 control pictures are too few to bound" in told
    assert f"Below an l2 of {of_fox.l2:.4f} no control is extracted" in told


def test_coverage_is_stated_and_what_could_not_be_read_is_named(found, printed, desk):
    assert (found.coverage.read, found.coverage.pictures) == (65, 66)
    assert f"65 of 66 pictures of {desk.folder / 'train'} could be read" in printed
    assert "Left out: 1 .json." in printed
    assert "1 could not be read: a.parquet#31 (UnidentifiedImageError" in printed


def test_a_flagged_prompt_whose_picture_is_gone_is_counted(found, printed):
    [gone] = found.not_verified
    assert gone.prompt == PROMPTS[4]
    assert "could not be looked at: 1. The first: The image of seed 3 is not in" in printed


def test_results_end_with_what_the_search_came_to(desk, found, monkeypatch, capsys):
    monkeypatch.chdir(desk.folder)
    monkeypatch.setattr(sys, "argv", ["seedsweep", "results", desk.id])
    with pytest.raises(SystemExit):
        command_line.main()
    assert capsys.readouterr().out.endswith("\n".join(summary(found)) + "\n")


def test_results_are_shown_though_a_search_of_them_cannot_be_read(
    desk, found, tmp_path, monkeypatch, capsys
):
    shutil.copytree(desk.folder, tmp_path / "copy")
    store = FolderStore(tmp_path / "copy" / "seedsweep-data")
    key = keys.finding(desk.id, "verifications", found.verification_id)
    store.replace(key, b"{}")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(sys, "argv", ["seedsweep", "results", desk.id])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    shown = capsys.readouterr()
    assert (ended.value.code, PROMPTS[0] in shown.out) == (0, True)
    assert f"The object {key} is not what was written" in shown.err


def test_nothing_is_left_to_search_for_once_every_flagged_prompt_was_looked_for(
    desk, found, tmp_path
):
    shutil.copytree(desk.store.root, tmp_path / "copy")
    store = FolderStore(tmp_path / "copy")
    assert is_verified(store, desk.id)  # it names no training set
    own = desk.plan.campaign.analysis
    settings = AnalysisSettings(analysis=own, verification=found.settings)
    store_control(store, desk.id, Control(settings=settings))
    assert is_verified(store, desk.id)  # nothing is flagged
    results = read_results(store, desk.plan.campaign.analysis_id, desk.id)
    store_results(store, settings.analysis_id, desk.id, results)
    assert not is_verified(store, desk.id)
    store_verification(store, found.model_copy(update={"analysis_id": settings.analysis_id}))
    assert is_verified(store, desk.id)
    more = make_flagged(prompt=PROMPTS[5])
    drop_results(store, desk.id, {more.prompt_id})
    store_results(store, settings.analysis_id, desk.id, [more])
    assert not is_verified(store, desk.id)


def test_the_controls_that_a_campaign_names_are_searched_for():
    named = Verification(training_set="/t", controls="/c", flip=True)
    assert SearchOptions().apply(named) == named
    other = SearchOptions(controls=Path("/other"), flip=False).apply(named)
    assert (other.controls, other.flip) == ("/other", False)


def test_whose_neighbours_are_meant_is_said(found):
    assert "to the training picture's 50 nearest" in " ".join(summary(found))
    settings = found.settings.model_copy(update={"neighbours_of": "generation"})
    other = found.model_copy(update={"settings": settings})
    assert "to the generation's 50 nearest" in " ".join(summary(other))


@pytest.fixture
def on_cluster(joining_ray, monkeypatch):
    """Have the command join a cluster."""
    for name, value in joining_ray.items():
        monkeypatch.setenv(name, value)


def test_of_many_control_pictures_the_first_are_searched_for_and_that_is_said(
    desk, verify, monkeypatch
):
    monkeypatch.setattr(verification, "searchers", lambda actors: nullcontext(Here()))
    monkeypatch.setattr(control_pictures, "CONTROLS", 4)
    sets = ["--training-set", "train", "--controls", "never.parquet"]
    done = verify(desk.id, *sets, "--neighbours-of", "generation")
    assert done.returncode == 0, done.stderr
    assert "0/4 = 0.00 [0.00, 0.60] (likewise); the first 4 of the set." in done.stdout
    assert "to the generation's 50 nearest" in done.stdout
    assert load_verifications(desk.store, desk.id)[0].controls.whole is False


def test_a_cluster_finds_the_same_and_a_search_by_other_settings_is_kept_beside(
    desk, found, verify, on_cluster
):
    done = verify(desk.id, "--training-set", "train", "--threshold", "0.001", "--flip", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [clique["match"]["l2"] for clique in told["cliques"][:3]] == [
        clique.match.l2 for clique in found.cliques[:3]
    ]
    assert (told["distinct_training_pictures_extracted"], told["controls"]) == (0, None)
    assert told["control_rate"] is None
    latest, *before = load_verifications(desk.store, desk.id)
    assert (latest.settings.threshold, latest.settings.flip) == (0.001, True)
    assert found in before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no [verification]", "--training-set"]),
        (["--training-set", "nowhere"], ["training set", "nowhere"]),
        (["--training-set", "prompts.txt"], ["training set", "prompts.txt"]),
        (["--training-set", "train", "--controls", "nowhere"], ["control pictures", "nowhere"]),
        (["--training-set", "train", "--threshold", "3"], ["threshold"]),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(desk, verify, arguments, words):
    done = verify(desk.id, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_a_campaign_that_is_not_analysed_or_without_a_flagged_prompt_says_what_to_do(
    desk, verify, tmp_path
):
    file = campaign_file(tmp_path / "campaign.toml", ["a cat"], "other", sampling=SAMPLING)
    campaign = submit_file(desk.store, file).campaign
    done = verify(campaign.campaign_id, "--training-set", "train")
    assert done.returncode == 2
    assert "has been analysed yet" in done.stderr
    result = make_result(prompt="a cat")
    store_results(desk.store, campaign.analysis_id, campaign.campaign_id, [result])
    done = verify(campaign.campaign_id, "--training-set", "train")
    assert done.returncode == 2
    assert "is flagged, so there is no picture to look for" in done.stderr
