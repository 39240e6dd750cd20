"""Pipelines that are given the prompt by several layers of a language model, or by all of it."""

from diffusers import (
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    HiDreamImageTransformer2DModel,
    Ideogram4Transformer2DModel,
    Krea2Transformer2DModel,
    OmniGenTransformer2DModel,
    ZImageTransformer2DModel,
)
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Model,
    Qwen3VLModel,
    Siglip2ImageProcessorPil,
    Siglip2VisionConfig,
    Siglip2VisionModel,
)

from tests.support.classes.language import mistral_3, z_image
from tests.support.classes.networks import (
    autoencoder,
    awaken,
    clip,
    flow_autoencoder,
    flux2_autoencoder,
    qwen3_vl,
    qwen_autoencoder,
    t5,
)
from tests.support.classes.tokenizers import qwen_tokenizer
from tests.support.tiny_pipelines import WIDTH

_SMALL = {
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def hidream():
    """CLIP twice, T5, and every layer of a language model."""
    tokenizer = qwen_tokenizer()
    config = LlamaConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **_SMALL)
    return {
        **clip(projected=True, longest=128),
        **clip("_2", projected=True, longest=128),
        **t5("_3", longest=128),
        "tokenizer_4": tokenizer,
        "text_encoder_4": LlamaForCausalLM(config).eval(),
        "transformer": HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            caption_channels=[WIDTH, WIDTH],
            text_emb_dim=2 * WIDTH,
            num_routed_experts=2,
            num_activated_experts=1,
            axes_dims_rope=[8, 4, 4],
            max_resolution=[32, 32],
            llama_layers=[0, 1],
        ).eval(),
        "vae": flow_autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def ernie():
    """It may have a language model that writes prompts anew; this one has none."""
    return {
        **mistral_3(Mistral3Model, layers=2),
        "transformer": awaken(
            ErnieImageTransformer2DModel(
                hidden_size=32,
                num_attention_heads=2,
                num_layers=1,
                ffn_hidden_size=32,
                in_channels=4,
                out_channels=4,
                text_in_dim=WIDTH,
                rope_axes_dim=(8, 4, 4),
            )
        ).eval(),
        "vae": flux2_autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "pe": None,
        "pe_tokenizer": None,
    }


def krea_2():
    return {
        **qwen3_vl(Qwen3VLModel),
        "transformer": awaken(
            Krea2Transformer2DModel(
                in_channels=16,
                num_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                num_key_value_heads=2,
                intermediate_size=32,
                timestep_embed_dim=16,
                text_hidden_dim=WIDTH,
                num_text_layers=2,
                text_num_attention_heads=2,
                text_num_key_value_heads=2,
                text_intermediate_size=16,
                num_layerwise_text_blocks=1,
                num_refiner_text_blocks=1,
                axes_dims_rope=(8, 4, 4),
            )
        ).eval(),
        "vae": qwen_autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "text_encoder_select_layers": (1, 2),
    }


def _ideogram():
    return awaken(
        Ideogram4Transformer2DModel(
            in_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            intermediate_size=32,
            adaln_dim=16,
            llm_features_dim=13 * WIDTH,
            mrope_section=(4, 2, 2),
        )
    ).eval()


def ideogram_4():
    """Thirteen layers up to the 35th are the prompt; a network of its own guides away from none."""
    return {
        **qwen3_vl(Qwen3VLModel, layers=36),
        "transformer": _ideogram(),
        "unconditional_transformer": _ideogram(),
        "vae": flux2_autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "prompt_enhancer_head": None,
    }


def omnigen():
    """One network reads the prompt and makes the picture."""
    tokenizer = qwen_tokenizer()
    return {
        "tokenizer": tokenizer,
        "transformer": awaken(
            OmniGenTransformer2DModel(
                in_channels=4,
                hidden_size=WIDTH,
                num_attention_heads=2,
                num_key_value_heads=2,
                intermediate_size=32,
                num_layers=1,
                pad_token_id=0,
                vocab_size=len(tokenizer),
                max_position_embeddings=2048,
                original_max_position_embeddings=2048,
                rope_scaling={
                    "long_factor": [1.0] * 4,
                    "short_factor": [1.0] * 4,
                    "type": "su",
                },
                time_step_dim=16,
            )
        ).eval(),
        "vae": autoencoder(levels=4),
        "scheduler": FlowMatchEulerDiscreteScheduler(invert_sigmas=True, num_train_timesteps=1),
    }


def z_image_omni():
    """It may be given pictures, too."""
    vision = Siglip2VisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_patches=16,
    )
    parts = z_image()
    transformer = awaken(
        ZImageTransformer2DModel.from_config(parts["transformer"].config, siglip_feat_dim=WIDTH)
    )
    for pad in ("x_pad_token", "cap_pad_token", "siglip_pad_token"):
        getattr(transformer, pad).data.fill_(1.0)
    return {
        **parts,
        "transformer": transformer.eval(),
        "siglip": Siglip2VisionModel(vision).eval(),
        "siglip_processor": Siglip2ImageProcessorPil(),
    }
