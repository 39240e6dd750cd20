"""Train the example model on `train.parquet`: a small Stable Diffusion pipeline.

    python examples/emoji/train.py vae package
    python examples/emoji/train.py diffusion
    python examples/emoji/train.py diffusion --deduplicated --output examples/emoji/deduplicated

The autoencoder learns from fresh renderings, so that it can draw any of them and memorises none.
The diffusion model and its text encoder then see every training picture as often as it has copies;
those trained on the deduplicated set see each once an epoch, in as many steps. These second two
are stored in eight bits, so that all are small enough for a repository.

A training that was cut goes on from its last checkpoint, at most two minutes old, when the command
is run again; what it draws at a step depends on the step alone.
"""

import filecmp
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import typer
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from drawing import Subject, fresh_rendering, put_frame, read_subjects
from networks import (
    CHANNELS,
    learned_tokenizer,
    new_scheduler,
    new_text_encoder,
    new_unet,
    new_vae,
)
from picture_files import Picture, as_stored, read_pictures
from pictures import HERE
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from training import DEVICE, Averaged, Training, half_precise, rows_of, to_tensor
from transformers import CLIPTextModel, CLIPTokenizer

CAPTION_DROPOUT = 0.1
HELD_BACK = 64
"""How many subjects the autoencoder never sees: it is measured on them, too."""

LATENT_NOISE = 0.05
"""What the decoder learns to bear, in standard deviations of a latent: a denoiser leaves some."""

app = typer.Typer(help=__doc__)


def any_rendering(subjects: list[Subject], rng: np.random.Generator) -> np.ndarray:
    """A fresh rendering of any of the subjects as it is stored, a few with a frame."""
    pixels = fresh_rendering(subjects[rng.integers(len(subjects))], rng)
    if rng.random() < 0.05:
        colour = rng.integers(0, 256, 3).astype(np.uint8)
        pixels = put_frame(pixels, colour, int(rng.integers(2, 9)))
    return as_stored(pixels)


class Renderings(Dataset[torch.Tensor]):
    """Batches of fresh renderings, one for each step, which depends on the step alone."""

    def __init__(self, subjects: list[Subject], batch: int, steps: range) -> None:
        self._subjects, self._batch, self._steps = subjects, batch, steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, place: int) -> torch.Tensor:
        rng = np.random.default_rng([1, self._steps[place]])
        drawn = [any_rendering(self._subjects, rng) for _ in range(self._batch)]
        return to_tensor(np.stack(drawn))


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences of neighbouring pixels, across and down."""
    return x.diff(dim=-1), x.diff(dim=-2)


def reconstruct(vae: AutoencoderKL, x: torch.Tensor, noise: float) -> torch.Tensor:
    """Encode and decode, with some noise on the latents."""
    latent = vae.quant_conv(vae.encoder(x))[:, :CHANNELS]
    latent = latent + noise * latent.std().detach() * torch.randn_like(latent)
    return vae.decoder(vae.post_quant_conv(latent))


def decibels(vae: AutoencoderKL, subjects: list[Subject], count: int = 512) -> float:
    """The peak signal-to-noise ratio of so many renderings that no training drew."""
    rng = np.random.default_rng(2)
    x = to_tensor(np.stack([any_rendering(subjects, rng) for _ in range(count)])).to(DEVICE)
    with torch.no_grad():
        parts = [F.mse_loss(reconstruct(vae, part, 0).clamp(-1, 1), part) for part in x.split(64)]
    return 10 * math.log10(4 / torch.stack(parts).mean().item())


def standardise(vae: AutoencoderKL, subjects: list[Subject], count: int = 1024) -> None:
    """Have every channel of the latents be 0 on average, and 1 in its standard deviation.

    Decoded pictures stay the same. The pipeline knows one factor for all channels, and no offset:
    so both go into the convolutions around the latents.
    """
    rng = np.random.default_rng(3)
    x = to_tensor(np.stack([any_rendering(subjects, rng) for _ in range(count)])).to(DEVICE)
    with torch.no_grad():
        latents = torch.cat([vae.quant_conv(vae.encoder(p))[:, :CHANNELS] for p in x.split(64)])
        deviation, mean = torch.std_mean(latents, (0, 2, 3))
        before, after = vae.quant_conv, vae.post_quant_conv
        after.bias += after.weight[:, :, 0, 0] @ mean
        after.weight *= deviation[None, :, None, None]
        before.weight[:CHANNELS] /= deviation[:, None, None, None]
        before.bias[:CHANNELS] = (before.bias[:CHANNELS] - mean) / deviation
        # What the pipeline takes for the latents' log-variances: there is none.
        before.weight[CHANNELS:], before.bias[CHANNELS:] = 0, -30
    vae.register_to_config(scaling_factor=1.0)


@app.command("vae")
def train_vae(
    package: Path, output: Path = HERE / "work/vae", steps: int = 7_000, batch: int = 16
) -> None:
    """Train the autoencoder on fresh renderings of all subjects but those held back."""
    torch.manual_seed(0)
    subjects = read_subjects(package)
    shuffled = [subjects[i] for i in np.random.default_rng(0).permutation(len(subjects))]
    held_back, seen = shuffled[-HELD_BACK:], shuffled[:-HELD_BACK]
    vae = new_vae().to(DEVICE, memory_format=torch.channels_last)
    averaged = Averaged([vae], 0.999)
    training = Training(averaged, steps, 1.5e-3, output.with_suffix(".checkpoint"))
    renderings = Renderings(seen, batch, range(training.step, steps))
    loader = iter(DataLoader(renderings, batch_size=None, num_workers=1, prefetch_factor=8))
    errors: list[float] = []
    for step in training.each():
        torch.manual_seed(step)
        x = next(loader).to(DEVICE, memory_format=torch.channels_last)
        with half_precise():
            restored = reconstruct(vae, x, LATENT_NOISE).float()
        mse = F.mse_loss(restored, x)
        pairs = zip(edges(restored), edges(x), strict=True)
        sharp = sum(F.l1_loss(mine, true) for mine, true in pairs)
        training.learn(mse + 0.1 * F.l1_loss(restored, x) + 0.1 * sharp)
        errors.append(mse.item())
        if (step + 1) % 100 == 0:
            training.say(f"{10 * math.log10(4 / np.mean(errors[-100:])):.1f} dB with noise")
    [vae] = averaged.averages
    standardise(vae, seen)
    print(f"held-back renderings: {decibels(vae, seen):.2f} dB")
    print(f"held-back renderings of subjects never seen: {decibels(vae, held_back):.2f} dB")
    vae.save_pretrained(output)


def encode_training_set(vae: AutoencoderKL, pixels: np.ndarray) -> torch.Tensor:
    """Encode all pictures once."""
    with torch.no_grad():
        parts = to_tensor(pixels).split(64)
        return torch.cat([vae.encode(part.to(DEVICE)).latent_dist.mode() for part in parts])


@dataclass(frozen=True)
class Pupils:
    """The denoiser and the text encoder, and what they learn from."""

    unet: UNet2DConditionModel
    text: CLIPTextModel
    scheduler: DDIMScheduler
    latents: torch.Tensor
    tokens: torch.Tensor
    """Of each picture's caption, and at the end of none."""

    def loss(self, chosen: torch.Tensor) -> torch.Tensor:
        """How far the velocities are from the true ones, at random times; some without caption."""
        x = self.latents[chosen]
        noise = torch.randn(x.shape).to(DEVICE)
        when = torch.randint(0, self.scheduler.config.num_train_timesteps, (len(chosen),))
        dropped = torch.rand(len(chosen)) < CAPTION_DROPOUT
        ids = self.tokens[torch.where(dropped, len(self.tokens) - 1, chosen)].to(DEVICE)
        when = when.to(DEVICE)
        noisy = self.scheduler.add_noise(x, noise, when)
        with half_precise():
            predicted = self.unet(noisy, when, self.text(ids)[0]).sample
        return F.mse_loss(predicted.float(), self.scheduler.get_velocity(x, noise, when))


def tokens_of(tokenizer: CLIPTokenizer, pictures: list[Picture]) -> torch.Tensor:
    """The tokens of each picture's caption, and at the end of none."""
    captions = [picture.caption for picture in pictures] + [""]
    return tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids


def store_in_eight_bits(file: Path) -> None:
    """Round stored matrices to float8 (e4m3), half as large: by at most 1/16 of each, or 0.001."""
    weights = load_file(file)
    for name, stored in weights.items():
        if stored.ndim > 1:
            weights[name] = stored.to(torch.float8_e4m3fn)
    save_file(weights, file, metadata={"format": "pt"})


@app.command("diffusion")
def train_diffusion(
    vae_folder: Path = HERE / "work/vae",
    training_set: Path = HERE / "train.parquet",
    output: Path = HERE / "model",
    steps: int = 11_500,
    batch: int = 64,
    deduplicated: bool = False,
) -> None:
    """Train denoiser and text encoder, and save the whole pipeline."""
    torch.manual_seed(0)
    pictures = read_pictures(training_set)
    vae = AutoencoderKL.from_pretrained(vae_folder).eval().to(DEVICE)
    vae.register_to_config(_name_or_path=None)
    latents = encode_training_set(vae, np.stack([p.pixels for p in pictures]))
    checkpoint = HERE / "work" / f"{output.name}.checkpoint"
    tokenizer = learned_tokenizer([p.caption for p in pictures], checkpoint.with_suffix(".tokens"))
    unet, text = new_unet().to(DEVICE), new_text_encoder(tokenizer).to(DEVICE)
    averaged = Averaged([unet, text], 0.999)
    training = Training(averaged, steps, 1e-3, checkpoint)
    tokens = tokens_of(tokenizer, pictures)
    pupils = Pupils(unet, text, new_scheduler(), latents, tokens)
    copies = [1 if deduplicated else p.copies for p in pictures]
    rows = torch.repeat_interleave(torch.arange(len(pictures)), torch.tensor(copies))
    losses: list[float] = []
    for step in training.each():
        torch.manual_seed(step)
        loss = pupils.loss(rows_of(step, rows, batch))
        training.learn(loss)
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            training.say(f"loss {np.mean(losses[-100:]):.4f}")
    average_unet, average_text = (network.half() for network in averaged.averages)
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=average_text,
        tokenizer=tokenizer,
        unet=average_unet,
        scheduler=pupils.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(output, safe_serialization=True)
    if deduplicated:
        store_in_eight_bits(output / "unet" / "diffusion_pytorch_model.safetensors")
        store_in_eight_bits(output / "text_encoder" / "model.safetensors")
    share_autoencoder(output, HERE / "model")


def share_autoencoder(output: Path, first: Path) -> None:
    """Have a second model link to the autoencoder of the first, if it is the very same."""
    mine, theirs = output / "vae", first / "vae"
    weights = "diffusion_pytorch_model.safetensors"
    if output.resolve() == first.resolve() or not (theirs / weights).is_file():
        return
    if filecmp.cmp(mine / weights, theirs / weights, shallow=False):
        shutil.rmtree(mine)
        mine.symlink_to(os.path.relpath(theirs.resolve(), output.resolve()))


if __name__ == "__main__":
    app()
