"""Train the example model on `train.parquet`: a small Stable Diffusion pipeline.

    python examples/emoji/train.py vae package
    python examples/emoji/train.py diffusion
    python examples/emoji/train.py diffusion --deduplicated --vae-folder examples/emoji/model/vae

The autoencoder learns from fresh renderings, so that it can draw any of them and memorises none.
The diffusion model and its text encoder then see every training picture as often as it has copies;
those trained on the deduplicated set see each once an epoch, in as many steps.
"""

import copy
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import typer
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from pictures import HERE, SIZE, Subject, fresh_rendering, read_pictures, read_subjects
from tokenizers import pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MAX_TOKENS = 24
TEXT_WIDTH = 128
CAPTION_DROPOUT = 0.1

app = typer.Typer(help=__doc__)


def new_vae() -> AutoencoderKL:
    """Build the autoencoder: 64 px pictures to 8 x 8 latents of 8 channels, 1.7 M parameters."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        norm_num_groups=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )


def new_unet() -> UNet2DConditionModel:
    """Build the denoiser: 4.3 M parameters, cross-attention at 8 x 8 and 4 x 4."""
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=8,
        out_channels=8,
        block_out_channels=(64, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
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


def rendering_batches(subjects: list[Subject], batch: int, steps: int) -> Iterator[torch.Tensor]:
    """Yield batches of fresh renderings of random subjects."""
    rng = np.random.default_rng(1)
    for _ in range(steps):
        chosen = rng.integers(0, len(subjects), batch)
        yield to_tensor(np.stack([fresh_rendering(subjects[i], rng) for i in chosen]))


@app.command("vae")
def train_vae(package: Path, output: Path = HERE / "work/vae", steps: int = 3600) -> None:
    """Train the autoencoder on fresh renderings of all subjects (15 minutes on 2 cores)."""
    torch.manual_seed(0)
    vae, batch = new_vae(), 8
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / 50) * (0.02 + 0.98 * (1 - s / steps))
    )
    began, errors = time.monotonic(), []

    def losses(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        latent = vae.quant_conv(vae.encoder(x))[:, :8]
        restored = vae.decoder(vae.post_quant_conv(latent))
        mse = F.mse_loss(restored, x)
        return mse, mse + 0.1 * F.l1_loss(restored, x)

    for step, x in enumerate(rendering_batches(read_subjects(package), batch, steps), 1):
        mse, loss = losses(x)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        errors.append(mse.item())
        if step % 100 == 0:
            psnr = 10 * math.log10(4 / np.mean(errors[-100:]))
            print(f"step {step}, {psnr:.1f} dB, {time.monotonic() - began:.0f} s", flush=True)
    vae.save_pretrained(output)


def encode_training_set(vae: AutoencoderKL, pixels: np.ndarray) -> tuple[torch.Tensor, float]:
    """Encode all pictures once; returns unit-variance latents and the factor that made them so."""
    with torch.no_grad():
        parts = [vae.encode(part).latent_dist.mean for part in to_tensor(pixels).split(64)]
    latents = torch.cat(parts)
    factor = 1 / latents.std().item()
    return latents * factor, factor


class Averaged:
    """An exponential moving average of a module's weights: what is sampled from."""

    def __init__(self, module: torch.nn.Module, decay: float = 0.995) -> None:
        self.module, self.decay = copy.deepcopy(module).eval().requires_grad_(False), decay

    def update(self, module: torch.nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        for mine, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            mine.lerp_(theirs.detach(), 1 - decay)


@app.command("diffusion")
def train_diffusion(
    vae_folder: Path = HERE / "work/vae",
    output: Path = HERE / "work/models",
    epochs: int = 32,
    save_every: int = 4,
    deduplicated: bool = False,
) -> None:
    """Train denoiser and text encoder, and save the whole pipeline every few epochs."""
    torch.manual_seed(0)
    pictures = read_pictures(HERE / "train.parquet")
    vae = AutoencoderKL.from_pretrained(vae_folder).eval()
    latents, factor = encode_training_set(vae, np.stack([p.pixels for p in pictures]))
    vae.register_to_config(scaling_factor=factor, _name_or_path=None)
    tokenizer = train_tokenizer([p.caption for p in pictures])
    tokens = tokenizer(
        [p.caption for p in pictures] + [""],
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    ).input_ids
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )
    unet, text = new_unet(), new_text_encoder(tokenizer)
    average_unet, average_text = Averaged(unet), Averaged(text)
    optimizer = torch.optim.AdamW([*unet.parameters(), *text.parameters()], lr=1e-3)
    rows = torch.tensor([i for i, p in enumerate(pictures) for _ in range(p.copies)])
    if deduplicated:
        epochs = round(epochs * len(rows) / len(pictures))
        rows = torch.arange(len(pictures))
    batch, step, began = 32, 0, time.monotonic()
    for epoch in range(1, epochs + 1):
        losses = []
        for chosen in rows[torch.randperm(len(rows))].split(batch):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(1.0, (step + 1) / 200, 0.1 + 3 * (1 - epoch / epochs))
            x, noise = latents[chosen], torch.randn(len(chosen), 8, SIZE // 8, SIZE // 8)
            when = torch.randint(0, scheduler.config.num_train_timesteps, (len(chosen),))
            dropped = torch.rand(len(chosen)) < CAPTION_DROPOUT
            ids = tokens[torch.where(dropped, len(pictures), chosen)]
            noisy = scheduler.add_noise(x, noise, when)
            predicted = unet(noisy, when, text(ids)[0]).sample
            loss = F.mse_loss(predicted, scheduler.get_velocity(x, noise, when))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*unet.parameters(), *text.parameters()], 1.0)
            optimizer.step()
            average_unet.update(unet, step)
            average_text.update(text, step)
            losses.append(loss.item())
            step += 1
        print(f"epoch {epoch}, {np.mean(losses):.4f}, {time.monotonic() - began:.0f} s", flush=True)
        if epoch % save_every == 0 or epoch == epochs:
            pipeline = StableDiffusionPipeline(
                vae=copy.deepcopy(vae).half(),
                text_encoder=copy.deepcopy(average_text.module).half(),
                tokenizer=tokenizer,
                unet=copy.deepcopy(average_unet.module).half(),
                scheduler=scheduler,
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
            pipeline.save_pretrained(output / f"epoch-{epoch}", safe_serialization=True)


if __name__ == "__main__":
    app()
