"""Pipelines whose denoiser is a transformer that is given the prompt by an encoder."""

from diffusers import (
    AuraFlowTransformer2DModel,
    BriaTransformer2DModel,
    ChromaTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusTransformer2DModel,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    HunyuanDiT2DModel,
    Lumina2Transformer2DModel,
    LuminaNextDiT2DModel,
    SanaTransformer2DModel,
    SCMScheduler,
)
from transformers import (
    BertConfig,
    BertModel,
    GemmaConfig,
    GemmaForCausalLM,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.support.classes.networks import (
    autoencoder,
    deep_autoencoder,
    flow_autoencoder,
    gemma,
    t5,
)
from tests.support.classes.tokenizers import bert_tokenizer, gemma_tokenizer, t5_tokenizer
from tests.support.tiny_pipelines import WIDTH, flux_parts, pixart_parts, sd3_parts


def pixart():
    return {**pixart_parts(layers=2), **t5()}


def hunyuan_dit():
    tokenizer = bert_tokenizer()
    encoder = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=80,
        )
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": encoder.eval(),
        **t5("_2", longest=256),
        "transformer": HunyuanDiT2DModel(
            sample_size=16,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            cross_attention_dim=WIDTH,
            cross_attention_dim_t5=WIDTH,
            pooled_projection_dim=WIDTH,
            hidden_size=16,
            activation_fn="gelu-approximate",
        ).eval(),
        # Of 1024 px, its attention would take minutes.
        "vae": autoencoder(levels=4, mid_block_add_attention=False),
        "scheduler": DDPMScheduler(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def _sana(scheduler, sample_size, **settings):
    return {
        **gemma(),
        "transformer": SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=WIDTH,
            sample_size=sample_size,
            **settings,
        ).eval(),
        "vae": deep_autoencoder(),
        "scheduler": scheduler,
    }


def sana():
    return _sana(FlowMatchEulerDiscreteScheduler(shift=7.0), 16)


def sana_sprint():
    """Guidance is a condition of its transformer."""
    return _sana(SCMScheduler(), 32, qk_norm="rms_norm_across_heads", guidance_embeds=True)


def lumina():
    tokenizer = gemma_tokenizer()
    config = GemmaConfig(
        vocab_size=len(tokenizer),
        head_dim=8,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_key_value_heads=2,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": GemmaForCausalLM(config).eval(),
        "transformer": LuminaNextDiT2DModel(
            sample_size=4,
            patch_size=2,
            in_channels=4,
            hidden_size=8,
            num_layers=2,
            num_attention_heads=2,
            num_kv_heads=2,
            multiple_of=16,
            norm_eps=1e-5,
            learn_sigma=True,
            qk_norm=True,
            cross_attention_dim=WIDTH,
            scaling_factor=1.0,
        ).eval(),
        "vae": autoencoder(levels=4),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def lumina_2():
    return {
        **gemma(),
        "transformer": Lumina2Transformer2DModel(
            sample_size=4,
            patch_size=2,
            in_channels=4,
            hidden_size=8,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=1,
            num_kv_heads=1,
            multiple_of=16,
            norm_eps=1e-5,
            scaling_factor=1.0,
            axes_dim_rope=[4, 2, 2],
            axes_lens=[512, 64, 64],
            cap_feat_dim=WIDTH,
        ).eval(),
        "vae": flow_autoencoder(levels=4),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def aura_flow():
    tokenizer = t5_tokenizer(256)
    config = UMT5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": UMT5EncoderModel(config).eval(),
        "transformer": AuraFlowTransformer2DModel(
            sample_size=32,
            patch_size=2,
            in_channels=4,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_projection_dim=16,
            joint_attention_dim=WIDTH,
            out_channels=4,
            pos_embed_max_size=256,
        ).eval(),
        "vae": autoencoder(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def cogview_3():
    return {
        **t5(),
        "transformer": CogView3PlusTransformer2DModel(
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=4,
            num_attention_heads=2,
            out_channels=4,
            text_embed_dim=WIDTH,
            time_embed_dim=8,
            condition_dim=2,
            pos_embed_max_size=16,
            sample_size=8,
        ).eval(),
        "vae": autoencoder(),
        "scheduler": CogVideoXDDIMScheduler(),
    }


def sd3():
    return {**sd3_parts(layers=2), **t5("_3", width=2 * WIDTH)}


def flux(*, guided=True):
    return {**flux_parts(guided=guided), **t5("_2")}


def chroma():
    return {
        **t5(),
        "transformer": ChromaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=[4, 4, 8],
            approximator_hidden_dim=32,
            approximator_layers=1,
            approximator_num_channels=16,
        ).eval(),
        "vae": flow_autoencoder(levels=1, channels=1, norm_num_groups=1),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "image_encoder": None,
        "feature_extractor": None,
    }


def bria():
    return {
        **t5(),
        "transformer": BriaTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=None,
            axes_dims_rope=[0, 4, 4],
        ).eval(),
        "vae": autoencoder(levels=1, shift_factor=0.0),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "image_encoder": None,
        "feature_extractor": None,
    }


def pixart_alpha():
    """Its transformer is told the size of the pictures, if they are of 1024 px."""
    return pixart()
