"""Pipelines whose prompts go through a processor that sees pictures too: it needs torchvision."""

import torch
import transformers
from diffusers import (
    AutoencoderKLQwenImage21,
    AutoencoderKLWan,
    AutoencoderTiny,
    BriaFibo2Transformer2DModel,
    DreamLiteUNetModel,
    FlowMatchEulerDiscreteScheduler,
    JoyImageEditTransformer3DModel,
    LongCatImageTransformer2DModel,
    NucleusMoEImageTransformer2DModel,
    QwenImage21Transformer2DModel,
)
from transformers import (
    Qwen3VLForConditionalGeneration,
)

from tests.support.classes.networks import (
    awaken,
    flow_autoencoder,
    flux2_autoencoder,
    qwen3_vl,
    qwen25_vl,
    qwen_autoencoder,
)
from tests.support.classes.tokenizers import CHAT, qwen_tokenizer
from tests.support.tiny_pipelines import WIDTH


def _qwen3_vl(layers=2):
    """A processor and a model of text and pictures, of so many layers."""
    parts = qwen3_vl(Qwen3VLForConditionalGeneration, layers)
    processor = transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(),
        tokenizer=parts["tokenizer"],
        video_processor=transformers.Qwen3VLVideoProcessor(),
        chat_template=CHAT,
    )
    return {"text_encoder": parts["text_encoder"], "processor": processor}


def _qwen2_processor():
    return transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(),
        tokenizer=qwen_tokenizer(),
        video_processor=transformers.Qwen2VLVideoProcessor(),
        chat_template=CHAT,
    )


def bria_fibo_2():
    """It reads the prompt from thirteen layers, up to the 35th."""
    return {
        **_qwen3_vl(layers=36),
        "transformer": awaken(
            BriaFibo2Transformer2DModel(
                in_channels=1,
                patch_size=2,
                dim=32,
                n_layers=6,
                n_refiner_layers=1,
                n_heads=2,
                cap_feat_dim=3 * WIDTH,
                injection_layer_ids=(1, 2, 3, 4, 5),
                perceiver_num_layers=1,
                axes_dims=(8, 4, 4),
                axes_lens=(2048, 64, 64),
            )
        ).eval(),
        "vae": flux2_autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def dream_lite():
    return {
        **_qwen3_vl(),
        "tokenizer": qwen_tokenizer(),
        "vae": AutoencoderTiny(
            encoder_block_out_channels=(4, 4),
            decoder_block_out_channels=(4, 4),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        ).eval(),
        "unet": DreamLiteUNetModel(
            down_block_types=(
                "DreamLiteCrossAttnNoSelfAttnDownBlock2D",
                "DreamLiteCrossAttnDownBlock2D",
            ),
            up_block_types=("DreamLiteCrossAttnUpBlock2D", "DreamLiteUpBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
        ).eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    }


def joy_image_edit():
    return {
        **_qwen3_vl(),
        "tokenizer": qwen_tokenizer(),
        "transformer": awaken(
            JoyImageEditTransformer3DModel(
                in_channels=16,
                hidden_size=32,
                num_attention_heads=2,
                text_dim=WIDTH,
                num_layers=1,
                rope_dim_list=[4, 6, 6],
            )
        ).eval(),
        "vae": AutoencoderKLWan(
            base_dim=2, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1
        ).eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def long_cat():
    """Its language model would write the prompt anew."""
    return {
        **qwen25_vl(),
        "text_processor": _qwen2_processor(),
        "transformer": LongCatImageTransformer2DModel(
            patch_size=1,
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=[4, 4, 8],
        ).eval(),
        "vae": flow_autoencoder(channels=16),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def nucleus_moe():
    """It reads the prompt from the eighth layer before the last."""
    return {
        **_qwen3_vl(layers=9),
        "transformer": _expert(
            NucleusMoEImageTransformer2DModel(
                in_channels=16,
                out_channels=4,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                num_key_value_heads=2,
                joint_attention_dim=WIDTH,
                axes_dims_rope=(8, 4, 4),
                dense_moe_strategy="none",
                num_experts=2,
                moe_intermediate_dim=8,
                capacity_factors=[1.0, 1.0],
            )
        ).eval(),
        "vae": qwen_autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def _expert(network):
    """diffusers leaves the experts' weights as whatever the memory held."""
    for name, weights in network.named_parameters():
        if "experts." in name:
            torch.nn.init.normal_(weights, std=0.1)
    return network


def qwen_image_2_1():
    return {
        **_qwen3_vl(),
        "transformer": awaken(
            QwenImage21Transformer2DModel(
                in_channels=8,
                out_channels=8,
                num_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                context_in_dim=WIDTH,
                axes_dims_rope=(8, 4, 4),
            )
        ).eval(),
        "vae": AutoencoderKLQwenImage21(
            base_dim=4,
            decoder_base_dim=4,
            z_dim=8,
            num_res_blocks=1,
            latents_mean=[0.0] * 8,
            latents_std=[1.0] * 8,
        ).eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }
