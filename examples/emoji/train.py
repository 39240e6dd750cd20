"""Train the example model on `train.parquet`: a small Stable Diffusion pipeline.

    python examples/emoji/train.py vae package
    python examples/emoji/train.py diffusion
    python examples/emoji/train.py diffusion --deduplicated --output examples/emoji/deduplicated

The autoencoder learns from fresh renderings, so that it can draw any of them and memorises none.
The diffusion model and its text encoder then see every training picture as often as it has copies;
those trained on the deduplicated set see each once an epoch, in as many steps.

A training that was cut goes on from its last checkpoint, at most two minutes old, when the command
is run again; what it draws at a step depends on the step alone.
"""

import copy
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from pictures import (
    HERE,
    SIZE,
    Picture,
    Subject,
    as_stored,
    fresh_rendering,
    put_frame,
    read_pictures,
    read_subjects,
)
from tokenizers import pre_tokenizers, trainers
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CHANNELS = 32
"""Of a latent, which is SIZE / 8 wide and high: 6 numbers of a picture for each of a latent's."""

MAX_TOKENS = 24
TEXT_WIDTH = 128
CAPTION_DROPOUT = 0.1
HELD_BACK = 64
"""How many subjects the autoencoder never sees: it is measured on them, too."""

LATENT_NOISE = 0.05
"""What the decoder learns to bear, in standard deviations of a latent: a denoiser leaves some."""

CHECKPOINT_SECONDS = 120

app = typer.Typer(help=__doc__)


def new_vae() -> AutoencoderKL:
    """Build the autoencoder: 64 px pictures to 8 x 8 latents, 1.7 M parameters."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=CHANNELS,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        norm_num_groups=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )


def new_unet() -> UNet2DConditionModel:
    """Build the denoiser: 5.3 M parameters, cross-attention at 4 x 4."""
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(80, 144),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build the text encoder: 0.5 M parameters."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def new_scheduler() -> DDIMScheduler:
    """Build the noise schedule: it ends at no signal, as sampling begins (arXiv 2305.08891)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )


def train_tokenizer(captions: list[str]) -> CLIPTokenizer:
    """Learn a byte-pair vocabulary of the captions, in CLIP's own conventions."""
    backend = CLIPTokenizer().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend.train_from_iterator(captions, trainer)
    model = json.loads(backend.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=MAX_TOKENS)


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Turn (n, height, width, 3) uint8 into (n, 3, height, width) float32 in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def half_precise() -> torch.autocast:
    """Compute in bfloat16 what bears it, which is nearly twice as fast."""
    return torch.autocast(DEVICE.type, torch.bfloat16)


@dataclass
class Averaged:
    """Modules, and the moving average of their weights: what is saved in the end."""

    modules: list[torch.nn.Module]
    decay: float
    averages: list[torch.nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.averages = [copy.deepcopy(m).eval().requires_grad_(False) for m in self.modules]

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [p for module in self.modules for p in module.parameters()]

    def update(self, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        mine = [p for module in self.averages for p in module.parameters()]
        torch._foreach_lerp_(mine, [p.detach() for p in self.parameters], 1 - decay)


class Training:
    """Steps of AdamW that go on from the checkpoint in `file`, if one is there."""

    def __init__(self, averaged: Averaged, steps: int, rate: float, file: Path) -> None:
        self._averaged, self._steps, self._rate, self._file = averaged, steps, rate, file
        self._optimizer = torch.optim.AdamW(averaged.parameters, lr=rate, betas=(0.9, 0.99))
        self.step, self._seconds = 0, 0.0
        if file.exists():
            self._restore(torch.load(file, map_location=DEVICE, weights_only=True))

    def each(self) -> Iterator[int]:
        """The steps that are left; at each, `learn` is to be called once."""
        began, saved = time.monotonic() - self._seconds, time.monotonic()
        while self.step < self._steps:
            yield self.step
            self.step += 1
            self._seconds = time.monotonic() - began
            if time.monotonic() - saved > CHECKPOINT_SECONDS or self.step == self._steps:
                self._save()
                saved = time.monotonic()

    def learn(self, loss: torch.Tensor) -> None:
        """Take one step downhill: warm up, then linearly less to a fiftieth."""
        rest = 1 - self.step / self._steps
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * min(1.0, (self.step + 1) / 200, 0.02 + 1.2 * rest)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._averaged.parameters, 1.0)
        self._optimizer.step()
        self._averaged.update(self.step)

    def say(self, words: str) -> None:
        print(f"step {self.step + 1}/{self._steps}, {words}, {self._seconds:.0f} s", flush=True)

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._file.with_suffix(".unfinished")
        modules = self._averaged.modules + self._averaged.averages
        state = {
            "step": self.step,
            "seconds": self._seconds,
            "modules": [module.state_dict() for module in modules],
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, unfinished)
        unfinished.replace(self._file)

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self._seconds = state["step"], state["seconds"]
        modules = self._averaged.modules + self._averaged.averages
        for module, weights in zip(modules, state["modules"], strict=True):
            module.load_state_dict(weights)
        self._optimizer.load_state_dict(state["optimizer"])
        print(f"goes on after step {self.step}", flush=True)


def any_rendering(subjects: list[Subject], rng: np.random.Generator) -> np.ndarray:
    """A fresh rendering of any of the subjects, some with a frame or a second one in front."""
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


def rows_of(step: int, rows: torch.Tensor, batch: int) -> torch.Tensor:
    """What a step sees: every epoch deals all rows anew, and leaves over less than a batch."""
    epoch, place = divmod(step, len(rows) // batch)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch))
    return rows[order[place * batch : (place + 1) * batch]]


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
    tokenizer = train_tokenizer([p.caption for p in pictures])
    unet, text = new_unet().to(DEVICE), new_text_encoder(tokenizer).to(DEVICE)
    averaged = Averaged([unet, text], 0.999)
    checkpoint = HERE / "work" / f"{output.name}.checkpoint"
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
    average_unet, average_text = averaged.averages
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=average_text.half(),
        tokenizer=tokenizer,
        unet=average_unet.half(),
        scheduler=pupils.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(output, safe_serialization=True)


if __name__ == "__main__":
    app()
