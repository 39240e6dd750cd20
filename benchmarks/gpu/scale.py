"""How large the measured model and its pictures are: as on a GPU, or tiny for a CPU."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

from tests.support.tiny_model import letters_tokenizer


@dataclass(frozen=True)
class Scale:
    """Sizes of one kind of machine.

    `channels` are the denoiser's and `decoder` the autoencoder's, `text` the text model's width,
    `layers` its depth and `heads` how many heads both have. `rounds` and `batches` are those of the
    part that compares the worker with the bare loop, `prompts` how many of the example are made.
    """

    dtype: str
    side: int
    steps: int
    channels: tuple[int, ...]
    decoder: tuple[int, ...]
    text: int
    layers: int
    heads: int
    batch_sizes: tuple[int, ...]
    batches: int
    rounds: int
    pictures: int
    matrix: int
    replayed: int
    prompts: int
    seeds: int


LARGE = Scale(
    dtype="float16", side=512, steps=20, channels=(320, 640, 1280, 1280),
    decoder=(128, 256, 512, 512), text=768, layers=12, heads=12, batch_sizes=(8, 16), batches=4,
    rounds=3, pictures=512, matrix=500, replayed=20, prompts=24, seeds=32,
)  # fmt: skip
"""The sizes of Stable Diffusion 1.5, from its parts' config.json."""

TINY = Scale(
    dtype="float32", side=64, steps=2, channels=(32, 64, 64, 64),
    decoder=(8, 16, 16, 16), text=32, layers=1, heads=4, batch_sizes=(2, 4), batches=2,
    rounds=2, pictures=4, matrix=40, replayed=4, prompts=2, seeds=12,
)  # fmt: skip


def save_model(folder: Path, scale: Scale, device: str) -> int:
    """Save a pipeline of Stable Diffusion 1's architecture with random weights, the same for the
    same device; returns how many parameters it has."""
    torch.manual_seed(0)
    tokenizer, levels = letters_tokenizer(77), len(scale.channels)
    # Made where they are used: a CPU takes half a minute to draw 860 million numbers.
    with torch.device(device):
        parts = {
            "vae": AutoencoderKL(
                block_out_channels=scale.decoder,
                down_block_types=("DownEncoderBlock2D",) * len(scale.decoder),
                up_block_types=("UpDecoderBlock2D",) * len(scale.decoder),
                latent_channels=4,
                layers_per_block=2,
                norm_num_groups=min(32, scale.decoder[0]),
                sample_size=scale.side,
            ),
            "text_encoder": CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=49408 if scale is LARGE else len(tokenizer),
                    hidden_size=scale.text,
                    intermediate_size=4 * scale.text,
                    num_hidden_layers=scale.layers,
                    num_attention_heads=scale.heads,
                    max_position_embeddings=77,
                    bos_token_id=0,
                    eos_token_id=1,
                    pad_token_id=1,
                )
            ),
            "unet": UNet2DConditionModel(
                sample_size=scale.side // 8,
                block_out_channels=scale.channels,
                down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
                up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
                layers_per_block=2,
                cross_attention_dim=scale.text,
                attention_head_dim=8,
            ),
        }
    for part in parts.values():
        part.to(getattr(torch, scale.dtype))
    StableDiffusionPipeline(
        **parts,
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return sum(weight.numel() for part in parts.values() for weight in part.parameters())
