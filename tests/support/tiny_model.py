"""A Stable Diffusion pipeline with random weights: 16 px pictures in milliseconds.

The libraries that make it are imported by who makes one: it takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel, VQModel
    from transformers import CLIPTokenizer


def save_tiny_model(
    folder: Path,
    denoiser: UNet2DConditionModel | None = None,
    autoencoder: AutoencoderKL | VQModel | None = None,
) -> None:
    """Save a pipeline that reduces by 2, so that sizes must be even; these parts may be others."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = letters_tokenizer(12)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    StableDiffusionPipeline(
        vae=autoencoder
        or AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=16,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=denoiser or tiny_denoiser(),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)


def letters_tokenizer(longest: int) -> CLIPTokenizer:
    """A tokenizer whose words are the letters, of prompts of so many at most; its first two tokens
    begin and end a prompt."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(c + "</w>" for c in letters)]
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=longest
    )


def tiny_denoiser(
    channels: tuple[int, ...] = (8, 16),
    down: tuple[str, ...] = ("CrossAttnDownBlock2D", "DownBlock2D"),
    up: tuple[str, ...] = ("UpBlock2D", "CrossAttnUpBlock2D"),
    middle: str | None = "UNetMidBlock2DCrossAttn",
    heads: int = 4,
    in_time: bool = False,
) -> UNet2DConditionModel:
    """A denoiser of these blocks, as wide as `channels`; the prompt joins the time, if asked."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=down,
        mid_block_type=middle,
        up_block_types=up,
        cross_attention_dim=16,
        attention_head_dim=heads,
        norm_num_groups=4,
        addition_embed_type="text" if in_time else None,
        addition_embed_type_num_heads=2,
    )
