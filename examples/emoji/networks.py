"""The networks of the example's pipeline, its noise schedule and its tokenizer."""

import json
from pathlib import Path

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from drawing import SIZE
from tokenizers import pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

CHANNELS = 32
"""Of a latent, which is SIZE / 8 wide and high: 6 numbers of a picture for each of a latent's."""

MAX_TOKENS = 24
TEXT_WIDTH = 128


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


def learned_tokenizer(captions: list[str], folder: Path) -> CLIPTokenizer:
    """The tokenizer in the folder, or a new one that is put there.

    Each learning numbers tokens of equal rank by chance, so a training that goes on has to keep the
    one that it began with.
    """
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(captions).save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)
