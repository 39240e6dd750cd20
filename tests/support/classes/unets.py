"""Pipelines whose denoiser is a UNet."""

import torch
from diffusers import (
    DDIMParallelScheduler,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    Kandinsky3UNet,
    LCMScheduler,
    PriorTransformer,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnAddedKVProcessor
from diffusers.pipelines.deepfloyd_if import IFWatermarker
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesConfig,
    RobertaSeriesModelWithTransformation,
)
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
    StableUnCLIPImageNormalizer,
)

from tests.support.classes.networks import autoencoder, awaken, clip, movq, t5
from tests.support.classes.tokenizers import chat_glm_tokenizer, roberta_tokenizer
from tests.support.tiny_pipelines import WIDTH, kandinsky_parts, xl_parts

_CROSS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
_SIMPLE = {
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "resnet_time_scale_shift": "scale_shift",
}


def _unet(**settings):
    usual = {
        "sample_size": 16,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**usual | settings).eval()


def stable_diffusion(scheduler=None, **settings):
    return {
        **clip(),
        "vae": autoencoder(),
        "unet": _unet(**_CROSS | settings),
        "scheduler": scheduler or DDIMScheduler(steps_offset=1, clip_sample=False),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def stable_diffusion_2():
    """It predicts the velocity."""
    sampler = DDIMScheduler(clip_sample=False, prediction_type="v_prediction")
    return stable_diffusion(sampler, use_linear_projection=True)


def latent_consistency():
    """Guidance is a condition of its UNet."""
    return stable_diffusion(LCMScheduler(clip_sample=False), time_cond_proj_dim=8)


def ldm3d():
    """It makes depth beside the picture."""
    return {**stable_diffusion(), "image_encoder": None}


def paradigms():
    return stable_diffusion(DDIMParallelScheduler())


def alt_diffusion():
    tokenizer = roberta_tokenizer()
    encoder = RobertaSeriesModelWithTransformation(
        RobertaSeriesConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            project_dim=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=80,
            pad_token_id=1,
        )
    )
    return {**stable_diffusion(), "tokenizer": tokenizer, "text_encoder": encoder.eval()}


def stable_unclip():
    """The prior makes the embedding of a picture, which the UNet is given beside the prompt."""
    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        embedding_dim=WIDTH,
        num_layers=1,
        num_embeddings=24,
    )
    # It begins as zeros, so that everything would be one to the decoder.
    prior.clip_std = torch.nn.Parameter(torch.ones_like(prior.clip_std))
    return {
        **{f"prior_{name}": part for name, part in clip(projected=True).items()},
        "prior": prior.eval(),
        "prior_scheduler": DDPMScheduler(
            variance_type="fixed_small_log",
            prediction_type="sample",
            clip_sample_range=5.0,
            beta_schedule="squaredcos_cap_v2",
        ),
        "image_normalizer": StableUnCLIPImageNormalizer(embedding_dim=WIDTH),
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        **clip(),
        "unet": _unet(
            **_CROSS,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * WIDTH,
        ),
        "scheduler": DDIMScheduler(prediction_type="v_prediction"),
        "vae": autoencoder(),
    }


def deepfloyd():
    """It samples pixels, and learned the variance beside the noise."""
    unet = _unet(
        **_SIMPLE,
        in_channels=3,
        out_channels=6,
        encoder_hid_dim=WIDTH,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_dim=32,
        cross_attention_norm="group_norm",
        act_fn="gelu",
    )
    unet.set_attn_processor(AttnAddedKVProcessor())
    return {
        **t5(),
        "unet": unet,
        "scheduler": DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", variance_type="learned_range", thresholding=True
        ),
        "watermarker": IFWatermarker(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def kandinsky():
    """Kandinsky 2.1, whose text encoder knows many languages."""
    tokenizer = roberta_tokenizer()
    parts = {name: part for name, part in kandinsky_parts().items() if name.startswith("prior_")}
    return {
        **parts,
        "tokenizer": tokenizer,
        "text_encoder": MultilingualCLIP(
            MCLIPConfig(
                numDims=WIDTH,
                transformerDimensions=WIDTH,
                hidden_size=WIDTH,
                intermediate_size=WIDTH,
                num_attention_heads=2,
                num_hidden_layers=1,
                vocab_size=len(tokenizer),
                max_position_embeddings=80,
                pad_token_id=1,
            )
        ).eval(),
        "unet": _unet(
            **_SIMPLE,
            in_channels=4,
            out_channels=8,
            addition_embed_type="text_image",
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="text_image_proj",
        ),
        "scheduler": DDIMScheduler(clip_sample=False),
        "movq": movq(4),
    }


def kandinsky_3():
    return {
        **t5(),
        "unet": Kandinsky3UNet(
            in_channels=4,
            time_embedding_dim=4,
            groups=2,
            attention_head_dim=4,
            layers_per_block=3,
            block_out_channels=(8, 16),
            cross_attention_dim=4,
            encoder_hid_dim=WIDTH,
        ).eval(),
        "scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "movq": movq(4),
    }


def xl():
    return {**xl_parts(), "add_watermarker": False}


def kolors():
    """A language model and its tokenizer, which are diffusers' own."""
    # Its module uses what torch says is deprecated as soon as it is imported.
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    tokenizer = chat_glm_tokenizer()
    config = ChatGLMConfig(
        num_layers=2,
        padded_vocab_size=tokenizer.vocab_size,
        hidden_size=WIDTH,
        ffn_hidden_size=WIDTH,
        kv_channels=8,
        num_attention_heads=2,
        multi_query_attention=True,
        add_qkv_bias=True,
        original_rope=True,
    )
    encoder = awaken(ChatGLMModel(config, empty_init=False))
    for weights in encoder.parameters():  # diffusers leaves them as whatever the memory held
        if weights.dim() == 1:
            torch.nn.init.ones_(weights)
    return {
        "tokenizer": tokenizer,
        "text_encoder": encoder.eval(),
        "unet": _unet(
            **_CROSS,
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="text_proj",
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        ),
        "vae": autoencoder(),
        "scheduler": EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_end=0.014),
        "image_encoder": None,
        "feature_extractor": None,
    }
