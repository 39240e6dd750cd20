"""Pipelines that are given the prompt by a language model, most with a chat template."""

import torch
from diffusers import (
    AdaptiveProjectedMixGuidance,
    AutoencoderKLHunyuanImage,
    AutoencoderKLWan,
    BriaFiboTransformer2DModel,
    CogView4Transformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2Transformer2DModel,
    HunyuanImageTransformer2DModel,
    Kandinsky5Transformer3DModel,
    OvisImageTransformer2DModel,
    QwenImageTransformer2DModel,
    ZImageTransformer2DModel,
)
from transformers import (
    ByT5Tokenizer,
    GlmConfig,
    GlmModel,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5EncoderModel,
)

from tests.support.classes.networks import (
    autoencoder,
    awaken,
    clip,
    flow_autoencoder,
    flux2_autoencoder,
    qwen3,
    qwen25_vl,
    qwen_autoencoder,
    smollm3,
)
from tests.support.classes.tokenizers import glm_tokenizer, qwen_tokenizer
from tests.support.tiny_pipelines import WIDTH, t5_config


def cogview_4():
    tokenizer = glm_tokenizer()
    config = GlmConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": GlmModel(config).eval(),
        "transformer": CogView4Transformer2DModel(
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=4,
            num_attention_heads=4,
            out_channels=4,
            text_embed_dim=WIDTH,
            time_embed_dim=8,
            condition_dim=4,
        ).eval(),
        "vae": autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(
            base_shift=0.25,
            max_shift=0.75,
            base_image_seq_len=256,
            use_dynamic_shifting=True,
            time_shift_type="linear",
        ),
    }


def _flux_2(width, *, guided):
    return {
        "transformer": Flux2Transformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=width,
            timestep_guidance_channels=256,
            axes_dims_rope=[4, 4, 4, 4],
            guidance_embeds=guided,
        ).eval(),
        "vae": flux2_autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def mistral_3(kind, layers):
    """A tokenizer with a chat template, and a model of text and pictures of so many layers."""
    tokenizer = qwen_tokenizer()
    config = Mistral3Config(
        text_config={
            "model_type": "mistral",
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": WIDTH,
            "max_position_embeddings": 1024,
            "num_attention_heads": 2,
            "num_hidden_layers": layers,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "sliding_window": None,
        },
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "intermediate_size": 16,
            "image_size": 30,
            "patch_size": 6,
        },
        image_token_index=1,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": kind(config).eval(),
    }


def flux_2():
    return {
        **mistral_3(Mistral3ForConditionalGeneration, layers=30),
        **_flux_2(3 * WIDTH, guided=True),
    }


def flux_2_klein():
    """Three of the language model's layers are the prompt."""
    return {**qwen3(Qwen3ForCausalLM, layers=28), **_flux_2(3 * WIDTH, guided=False)}


def kandinsky_5():
    return {
        **qwen25_vl(),
        **clip("_2", longest=77),
        "transformer": awaken(
            Kandinsky5Transformer3DModel(
                in_visual_dim=16,
                in_text_dim=WIDTH,
                in_text_dim2=WIDTH,
                time_dim=16,
                out_visual_dim=16,
                patch_size=(1, 2, 2),
                model_dim=16,
                ff_dim=32,
                num_text_blocks=1,
                num_visual_blocks=1,
                axes_dims=(1, 1, 2),
                visual_cond=False,
                attention_type="regular",
            )
        ).eval(),
        "vae": flow_autoencoder(levels=4, channels=16, mid_block_add_attention=False),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
    }


def qwen_image():
    return {
        **qwen25_vl(),
        "transformer": QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            guidance_embeds=False,
            axes_dims_rope=(8, 4, 4),
        ).eval(),
        "vae": qwen_autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def z_image():
    transformer = ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=16,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        norm_eps=1e-5,
        qk_norm=True,
        cap_feat_dim=WIDTH,
        rope_theta=256.0,
        t_scale=1000.0,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    # diffusers leaves them as whatever the memory held.
    torch.nn.init.ones_(transformer.x_pad_token)
    torch.nn.init.ones_(transformer.cap_pad_token)
    return {
        **qwen3(Qwen3Model),
        "transformer": transformer.eval(),
        "vae": flow_autoencoder(channels=16),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def ovis_image():
    return {
        **qwen3(Qwen3Model),
        "transformer": OvisImageTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
        ).eval(),
        "vae": flow_autoencoder(levels=1, channels=1, norm_num_groups=1),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def hunyuan_image():
    """What guides it is a part of its own. Some of the prompt is read byte by byte."""
    letters = ByT5Tokenizer()
    return {
        **qwen25_vl(),
        "tokenizer_2": letters,
        "text_encoder_2": T5EncoderModel(t5_config(len(letters), WIDTH)).eval(),
        "transformer": awaken(
            HunyuanImageTransformer2DModel(
                in_channels=4,
                out_channels=4,
                num_attention_heads=2,
                attention_head_dim=8,
                num_layers=1,
                num_single_layers=1,
                num_refiner_layers=1,
                text_embed_dim=WIDTH,
                text_embed_2_dim=WIDTH,
                rope_axes_dim=(4, 4),
            )
        ).eval(),
        "vae": AutoencoderKLHunyuanImage(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(32,) * 4,
            layers_per_block=1,
            spatial_compression_ratio=8,
            sample_size=32,
            scaling_factor=0.5,
        ).eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
        "guider": AdaptiveProjectedMixGuidance(),
        "ocr_guider": AdaptiveProjectedMixGuidance(),
    }


def bria_fibo():
    """Its pipeline has the number of the token that stands for no prompt."""
    return {
        **smollm3(words=128_001),
        "transformer": awaken(
            BriaFiboTransformer2DModel(
                patch_size=1,
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=2 * WIDTH,
                text_encoder_dim=WIDTH,
                axes_dims_rope=[0, 4, 4],
            )
        ).eval(),
        "vae": AutoencoderKLWan(
            base_dim=8,
            decoder_base_dim=8,
            z_dim=16,
            dim_mult=[1, 2, 2, 2],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            patch_size=2,
            in_channels=12,
            out_channels=12,
            is_residual=True,
            scale_factor_spatial=16,
        ).eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }
