"""A training and a measurement that were cut go on, and end as if nothing had happened."""

import importlib.util
import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch

from tests.support.checkout import ROOT

EMOJI = ROOT / "examples" / "emoji"
NAMES = (
    "picture_files",
    "closeness",
    "drawing",
    "networks",
    "training",
    "pictures",
    "train",
    "truth",
)
"""The scripts, each after those that it imports."""


class CutError(Exception):
    """What ends a training in its middle."""


@pytest.fixture(scope="module")
def scripts():
    """The scripts of the example, as modules: name → module."""
    sys.path.insert(0, str(EMOJI))
    found = {}
    for name in NAMES:
        spec = importlib.util.spec_from_file_location(name, EMOJI / f"{name}.py")
        found[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    yield found
    sys.path.remove(str(EMOJI))
    for name in found:
        del sys.modules[name]


def learn(scripts, file, steps, cut_after=None):
    """Fit a line for so many steps; returns the weights and their average."""
    torch.manual_seed(0)
    averaged = scripts.Averaged([torch.nn.Linear(3, 2)], 0.9)
    training = scripts.Training(averaged, steps, 0.01, file)
    for step in training.each():
        torch.manual_seed(step)
        training.learn(averaged.modules[0](torch.randn(4, 3)).square().mean())
        if step == cut_after:
            raise CutError
    return [
        p.detach().clone() for m in averaged.modules + averaged.averages for p in m.parameters()
    ]


def test_a_training_that_was_cut_ends_with_the_same_weights(scripts, tmp_path, monkeypatch):
    training = scripts["training"]
    whole = learn(training, tmp_path / "whole.checkpoint", 30)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0)
    for cut_after in (7, 8, 25):
        with pytest.raises(CutError):
            learn(training, tmp_path / "cut.checkpoint", 30, cut_after)
    again = learn(training, tmp_path / "cut.checkpoint", 30)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_training_that_goes_on_keeps_its_tokenizer(scripts, tmp_path):
    """Another process would number some tokens otherwise, and read captions as other ones."""
    networks = scripts["networks"]
    captions = [f"{a} {b}" for a in ("red", "blue", "Ärmel") for b in ("cat", "dog 4", "q&a")]
    first = networks.learned_tokenizer(captions, tmp_path / "tokens")
    again = networks.learned_tokenizer(["nothing of that"], tmp_path / "tokens")
    assert again.get_vocab() == first.get_vocab()
    tokens = [each(captions, padding="max_length").input_ids for each in (first, again)]
    assert tokens[0] == tokens[1]
    assert {len(ids) for ids in tokens[0]} == {networks.MAX_TOKENS}
    assert len({*map(tuple, tokens[0])}) == len(captions)


def test_a_second_model_shares_the_autoencoder_if_it_is_the_same(scripts, tmp_path):
    for name, data in (("model", b"one"), ("twin", b"one"), ("other", b"two")):
        (tmp_path / name / "vae").mkdir(parents=True)
        (tmp_path / name / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(data)
    for name in ("model", "twin", "other"):
        scripts["train"].share_autoencoder(tmp_path / name, tmp_path / "model")
    links = [(tmp_path / name / "vae").is_symlink() for name in ("model", "twin", "other")]
    assert links == [False, True, False]
    assert (tmp_path / "twin" / "vae").samefile(tmp_path / "model" / "vae")
    moved = (tmp_path / "twin").rename(tmp_path / "model2")
    assert (moved / "vae").samefile(tmp_path / "model" / "vae")


def test_what_a_step_draws_depends_on_the_step_alone(scripts, monkeypatch):
    train = scripts["train"]
    rows = torch.arange(100)
    seen = torch.cat([train.rows_of(step, rows, 16) for step in range(6)])
    assert len(set(seen.tolist())) == 96
    assert torch.equal(train.rows_of(8, rows, 16), train.rows_of(8, rows, 16))
    assert not torch.equal(train.rows_of(0, rows, 16), train.rows_of(6, rows, 16))
    monkeypatch.setattr(
        train, "any_rendering", lambda _, rng: rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    )
    early, late = (train.Renderings([], 4, range(first, 10)) for first in (3, 5))
    assert (len(early), len(late)) == (7, 5)
    assert torch.equal(early[2], late[0])
    assert not torch.equal(early[0], late[0])


def test_standardising_latents_alters_no_picture(scripts, monkeypatch):
    train = scripts["train"]
    torch.manual_seed(0)
    vae = scripts["networks"].new_vae().eval()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (8, 64, 64, 3)).astype(np.uint8)
    monkeypatch.setattr(train, "any_rendering", lambda _, rng: pictures[rng.integers(8)])
    x = train.to_tensor(pictures)
    with torch.no_grad():
        before = train.reconstruct(vae, x, 0)
        train.standardise(vae, [], 64)
        after = vae.decode(vae.encode(x).latent_dist.mode()).sample
        latents = train.encode_training_set(vae, pictures)
    assert torch.allclose(before, after, atol=1e-4)
    assert latents.mean((0, 2, 3)).abs().max() < 0.2
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.2


def test_a_measurement_that_was_cut_keeps_whole_captions_and_no_half_line(scripts, tmp_path):
    truth = scripts["truth"]
    seeds = [truth.Seed("a cat", 1_000_000 + n, 3, 0.05, 0.2) for n in range(2)]
    line = json.dumps([asdict(seed) for seed in seeds]) + "\n"
    journal = tmp_path / "truth.jsonl"
    assert truth.read_journal(journal) == {}
    journal.write_text(line + line.replace("a cat", "a dog")[:-20])
    assert truth.read_journal(journal) == {"a cat": seeds}


def test_repeats_are_counted_by_picture_and_by_the_rule(scripts):
    truth = scripts["truth"]
    found = [
        truth.Seed("a cat", 0, original=3, l2=0.1, rendering_l2=0.2),
        truth.Seed("a cat", 1, original=3, l2=0.04, rendering_l2=0.2),
        truth.Seed("a cat", 2, original=5, l2=0.04, rendering_l2=0.2),
        truth.Seed("a cat", 3, original=3, l2=0.101, rendering_l2=0.2),
        truth.Seed("a cat", 4, original=3, l2=0.09, rendering_l2=0.08),
    ]
    assert truth.most_repeated(found) == (2, 1)
    assert truth.most_repeated(found[3:]) == (0, 0)


def test_the_part_in_common_is_what_hardly_differs(scripts):
    pictures, truth = scripts["pictures"], scripts["truth"]
    rng = np.random.default_rng(0)
    made = rng.integers(0, 256, (12, 64, 64, 3)).astype(np.uint8)
    made[:, :32, :16] = rng.integers(0, 256, (32, 16, 3))
    several = [pictures.Picture(each, "a cat", 1, "template", n) for n, each in enumerate(made)]
    part = truth.common_part(several).reshape(64, 64, 3)
    assert part[:32, :16].all()
    assert part.mean() == pytest.approx(32 * 16 / 64**2)
