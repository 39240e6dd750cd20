"""The networks that several of the tiny pipelines share: text encoders and autoencoders."""

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    VQModel,
)
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3VLConfig,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    T5EncoderModel,
)

from tests.support.classes.tokenizers import gemma_tokenizer, qwen_tokenizer, t5_tokenizer
from tests.support.tiny_model import letters_tokenizer
from tests.support.tiny_pipelines import LONGEST, WIDTH, t5_config, text_config

_SMALL = {
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
_SEEN = {"depth": 1, "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_heads": 2}


def clip(suffix="", *, projected=False, longest=LONGEST):
    """A tokenizer and a text encoder of CLIP, by the names that end on `suffix`."""
    tokenizer = letters_tokenizer(longest)
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    encoder = kind(text_config(len(tokenizer), longest)).eval()
    return {f"tokenizer{suffix}": tokenizer, f"text_encoder{suffix}": encoder}


def t5(suffix="", *, width=WIDTH, longest=64):
    """A tokenizer and an encoder of T5."""
    tokenizer = t5_tokenizer(longest)
    encoder = T5EncoderModel(t5_config(len(tokenizer), width)).eval()
    return {f"tokenizer{suffix}": tokenizer, f"text_encoder{suffix}": encoder}


def gemma():
    tokenizer = gemma_tokenizer()
    config = Gemma2Config(vocab_size=len(tokenizer), head_dim=8, num_hidden_layers=2, **_SMALL)
    return {"tokenizer": tokenizer, "text_encoder": Gemma2Model(config).eval()}


def qwen3(kind, *, layers=2, **settings):
    """A tokenizer with a chat template, and a language model of so many layers."""
    tokenizer = qwen_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        num_hidden_layers=layers,
        head_dim=8,
        max_position_embeddings=1024,
        **_SMALL | settings,
    )
    return {"tokenizer": tokenizer, "text_encoder": kind(config).eval()}


def smollm3(words):
    """A tokenizer, and a language model that knows so many tokens."""
    config = SmolLM3Config(vocab_size=words, num_hidden_layers=2, pad_token_id=0, **_SMALL)
    return {"tokenizer": qwen_tokenizer(), "text_encoder": SmolLM3ForCausalLM(config).eval()}


def qwen25_vl():
    """A tokenizer with a chat template, and a model of text and pictures."""
    tokenizer = qwen_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config={
            **_SMALL,
            "vocab_size": len(tokenizer),
            "num_hidden_layers": 2,
            "rope_parameters": {
                "mrope_section": [1, 1, 2],
                "rope_type": "default",
                "rope_theta": 1e4,
            },
        },
        vision_config={**_SEEN, "out_hidden_size": WIDTH},
        **_seen_tokens(tokenizer, "vision_token_id"),
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": Qwen2_5_VLForConditionalGeneration(config).eval(),
    }


def qwen3_vl(kind, layers=2):
    """A tokenizer with a chat template, and a model of text and pictures of so many layers."""
    tokenizer = qwen_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": kind(qwen3_vl_config(tokenizer, layers)).eval(),
    }


def qwen3_vl_config(tokenizer, layers):
    return Qwen3VLConfig(
        text_config={
            **_SMALL,
            "head_dim": 8,
            "vocab_size": len(tokenizer),
            "num_hidden_layers": layers,
            "rope_parameters": {
                "mrope_section": [2, 1, 1],
                "rope_type": "default",
                "rope_theta": 1e4,
            },
        },
        vision_config={
            **_SEEN,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 4,
            "deepstack_visual_indexes": [0],
        },
        **_seen_tokens(tokenizer),
    )


def autoencoder(*, levels=2, channels=4, **settings):
    """An autoencoder that reduces a side by two at each level but the first."""
    usual = {
        "block_out_channels": (4,) * levels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": channels,
        "norm_num_groups": 2,
        "sample_size": 32,
    }
    return AutoencoderKL(**usual | settings).eval()


def flow_autoencoder(**settings):
    """An autoencoder as flow matching models have it, whose latents have a mean."""
    return autoencoder(
        **{
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "shift_factor": 0.06,
            "scaling_factor": 1.5,
            **settings,
        }
    )


def flux2_autoencoder():
    return AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(4,),
        layers_per_block=1,
        latent_channels=1,
        norm_num_groups=1,
        sample_size=32,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def deep_autoencoder():
    """An autoencoder of Sana, which reduces by 32."""
    levels = 6
    blocks, channels = ("ResBlock",) * 5 + ("EfficientViTBlock",), (4,) * levels
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        encoder_qkv_multiscales=((),) * 5 + ((5,),),
        decoder_qkv_multiscales=((),) * 5 + ((5,),),
        encoder_layers_per_block=(1,) * levels,
        decoder_layers_per_block=(1,) * levels,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41,
    ).eval()


def qwen_autoencoder(channels=4):
    return AutoencoderKLQwenImage(
        base_dim=6,
        z_dim=channels,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * channels,
        latents_std=[1.0] * channels,
    ).eval()


def movq(levels=2):
    """An autoencoder of Kandinsky."""
    return VQModel(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        num_vq_embeddings=4,
        norm_num_groups=4,
        vq_embed_dim=4,
    ).eval()


def awaken(network):
    """Give weights to the layers that begin as zeros: nothing would pass them."""
    for weights in network.parameters():
        if weights.dim() > 1 and not weights.any():
            torch.nn.init.normal_(weights, std=0.1)
    return network


def _seen_tokens(tokenizer, *more):
    """Which tokens stand for pictures."""
    number = tokenizer.convert_tokens_to_ids
    return {
        "vision_start_token_id": number("<|vision_start|>"),
        "vision_end_token_id": number("<|vision_end|>"),
        "image_token_id": number("<|image_pad|>"),
        **dict.fromkeys(more, number("<|image_pad|>")),
    }
