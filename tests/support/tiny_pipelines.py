"""Pipelines of other families with random weights, as small as they can be."""

import json

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    KandinskyV22CombinedPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    PriorTransformer,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from tests.support.tiny_model import letters_tokenizer

WIDTH = 16
LONGEST = 24


def save_flux(folder, *, guided=False):
    """A FLUX of 32 px pictures; without `guided`, it takes a guidance scale and does not use it."""
    FluxPipeline(**flux_parts(guided=guided)).save_pretrained(folder)


def flux_parts(*, guided=False):
    """What `save_flux` saves, by the names of the pipeline's parts."""
    torch.manual_seed(0)
    tokenizer = letters_tokenizer(LONGEST)
    return {
        "transformer": FluxTransformer2DModel(
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guided,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(4,),
            latent_channels=1,
            norm_num_groups=1,
            sample_size=32,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.06,
            scaling_factor=1.5,
        ),
        "text_encoder": CLIPTextModel(text_config(len(tokenizer))),
        "tokenizer": tokenizer,
        "text_encoder_2": T5EncoderModel(t5_config(len(tokenizer), WIDTH)),
        "tokenizer_2": letters_tokenizer(LONGEST),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def save_dit(folder, *, classes=1000):
    """A class-conditional DiT of 32 px pictures; the class 2 has two names, and 3 one of these."""
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        norm_num_groups=2,
        sample_size=16,
        patch_size=4,
        num_embeds_ada_norm=classes,
    )
    for weights in transformer.parameters():  # what is new begins at nought, and tells no classes
        torch.nn.init.normal_(weights, std=0.3)
    DiTPipeline(
        transformer=transformer, vae=autoencoder(4), scheduler=DDIMScheduler()
    ).save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["id2label"] = {"0": "tench", "2": "crane, wading bird", "3": "crane"}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def save_kandinsky(folder):
    """A Kandinsky 2.2 of prior and decoder in one, whose decoder has a sampler of its own."""
    KandinskyV22CombinedPipeline(**kandinsky_parts()).save_pretrained(folder)


def kandinsky_parts():
    """What `save_kandinsky` saves, by the names of the pipeline's parts."""
    torch.manual_seed(0)
    tokenizer = letters_tokenizer(LONGEST)
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        image_size=32,
        projection_dim=WIDTH,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=1,
        patch_size=16,
    )
    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        embedding_dim=WIDTH,
        num_layers=1,
        num_embeddings=LONGEST,
    )
    # It begins as zeros, so that everything would be one to the decoder.
    prior.clip_std = torch.nn.Parameter(torch.ones_like(prior.clip_std))
    return {
        "unet": UNet2DConditionModel(
            in_channels=4,
            out_channels=8,
            addition_embed_type="image",
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            block_out_channels=(8, 16),
            layers_per_block=1,
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="image_proj",
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=4,
            resnet_time_scale_shift="scale_shift",
        ),
        "scheduler": DDIMScheduler(),
        "movq": VQModel(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            num_vq_embeddings=4,
            norm_num_groups=4,
            vq_embed_dim=4,
        ),
        "prior_prior": prior,
        "prior_image_encoder": CLIPVisionModelWithProjection(vision),
        "prior_text_encoder": CLIPTextModelWithProjection(text_config(len(tokenizer))),
        "prior_tokenizer": tokenizer,
        "prior_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=100
        ),
        "prior_image_processor": CLIPImageProcessorPil(size=32, crop_size=32),
    }


def text_config(words, longest=LONGEST):
    """The configuration of a text encoder of one layer for so many words."""
    return CLIPTextConfig(
        vocab_size=words,
        hidden_size=WIDTH,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=longest,
        projection_dim=WIDTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def save_xl(folder):
    """A Stable Diffusion XL of 16 px pictures: two text encoders, and the size as a condition."""
    StableDiffusionXLPipeline(**xl_parts()).save_pretrained(folder)


def xl_parts():
    """What `save_xl` saves, by the names of the pipeline's parts."""
    torch.manual_seed(0)
    tokenizer = letters_tokenizer(LONGEST)
    return {
        "vae": autoencoder(4),
        "text_encoder": CLIPTextModel(text_config(len(tokenizer))),
        "text_encoder_2": CLIPTextModelWithProjection(text_config(len(tokenizer))),
        "tokenizer": tokenizer,
        "tokenizer_2": letters_tokenizer(LONGEST),
        "unet": UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=2 * WIDTH,
            attention_head_dim=(2, 4),
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        ),
        "scheduler": EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_end=0.012),
        "add_watermarker": False,
    }


def save_sd3(folder):
    """A Stable Diffusion 3 of 16 px pictures, a flow-matching transformer."""
    StableDiffusion3Pipeline(**sd3_parts()).save_pretrained(folder)


def sd3_parts(layers=1):
    """What `save_sd3` saves, by the names of the pipeline's parts."""
    torch.manual_seed(0)
    tokenizer = letters_tokenizer(LONGEST)
    return {
        "transformer": SD3Transformer2DModel(
            sample_size=8,
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=layers,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_projection_dim=WIDTH,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=2 * WIDTH,
        ),
        "vae": autoencoder(4, shift_factor=0.06, scaling_factor=1.5),
        "text_encoder": CLIPTextModelWithProjection(text_config(len(tokenizer))),
        "tokenizer": tokenizer,
        "text_encoder_2": CLIPTextModelWithProjection(text_config(len(tokenizer))),
        "tokenizer_2": letters_tokenizer(LONGEST),
        "text_encoder_3": T5EncoderModel(t5_config(len(tokenizer), 2 * WIDTH)),
        "tokenizer_3": letters_tokenizer(LONGEST),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


def save_pixart(folder):
    """A PixArt-Σ of 256 px pictures, whose transformer learned the variance beside the noise."""
    PixArtSigmaPipeline(**pixart_parts()).save_pretrained(folder)


def pixart_parts(layers=1):
    """What `save_pixart` saves, by the names of the pipeline's parts."""
    torch.manual_seed(0)
    tokenizer = letters_tokenizer(LONGEST)
    return {
        "tokenizer": tokenizer,
        "text_encoder": T5EncoderModel(t5_config(len(tokenizer), WIDTH)),
        "vae": AutoencoderKL(
            block_out_channels=(4,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=2,
        ),
        "transformer": PixArtTransformer2DModel(
            sample_size=32,
            patch_size=4,
            in_channels=4,
            out_channels=8,
            num_layers=layers,
            attention_head_dim=8,
            num_attention_heads=2,
            cross_attention_dim=WIDTH,
            caption_channels=WIDTH,
            use_additional_conditions=False,
        ),
        "scheduler": DPMSolverMultistepScheduler(),
    }


def t5_config(words, width):
    return T5Config(vocab_size=words, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)


def autoencoder(channels, **settings):
    """An autoencoder that reduces by 2."""
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=16,
        **settings,
    )
