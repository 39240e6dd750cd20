"""Pipelines of several stages, and those that sample tokens of a picture."""

from diffusers import (
    AmusedScheduler,
    DDPMWuerstchenScheduler,
    StableCascadeUNet,
    UVit2DModel,
    VQModel,
)
from diffusers.pipelines.deprecated.wuerstchen import (
    PaellaVQModel,
    WuerstchenDiffNeXt,
    WuerstchenPrior,
)

from tests.support.classes.networks import awaken, clip
from tests.support.tiny_pipelines import WIDTH


def _paella():
    return PaellaVQModel(
        bottleneck_blocks=1, num_vq_embeddings=2, embed_dim=8, levels=2, latent_channels=4
    ).eval()


def _stages(**parts):
    return {
        **clip(projected=True),
        **{f"prior_{name}": part for name, part in clip(projected=True).items()},
        "scheduler": DDPMWuerstchenScheduler(),
        "prior_scheduler": DDPMWuerstchenScheduler(),
        "vqgan": _paella(),
        **parts,
    }


def stable_cascade():
    layers = ("SDCascadeResBlock", "SDCascadeTimestepBlock")
    decoder = StableCascadeUNet(
        in_channels=4,
        out_channels=4,
        conditioning_dim=16,
        block_out_channels=(8, 16),
        num_attention_heads=(-1, 2),
        down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1),
        down_blocks_repeat_mappers=(1, 1),
        up_blocks_repeat_mappers=(1, 1),
        block_types_per_layer=(layers, (*layers, "SDCascadeAttnBlock")),
        switch_level=None,
        clip_text_pooled_in_channels=WIDTH,
        effnet_in_channels=16,
        dropout=(0.0, 0.0),
        patch_size=2,
    )
    prior = StableCascadeUNet(
        in_channels=16,
        out_channels=16,
        conditioning_dim=16,
        block_out_channels=(16, 16),
        num_attention_heads=(2, 2),
        down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1),
        clip_image_in_channels=WIDTH,
        switch_level=(False,),
        clip_text_in_channels=WIDTH,
        clip_text_pooled_in_channels=WIDTH,
        dropout=(0.0, 0.0),
    )
    return _stages(
        decoder=decoder.eval(),
        prior_prior=prior.eval(),
        prior_feature_extractor=None,
        prior_image_encoder=None,
    )


def wuerstchen():
    return _stages(
        decoder=awaken(
            WuerstchenDiffNeXt(
                c_cond=WIDTH,
                c_hidden=[8, 8],
                nhead=[-1, 2],
                blocks=[1, 1],
                level_config=["CT", "CTA"],
                clip_embd=WIDTH,
                inject_effnet=[False, True],
                effnet_embd=16,
            )
        ).eval(),
        prior_prior=awaken(
            WuerstchenPrior(c_in=16, c=16, c_cond=WIDTH, c_r=16, depth=2, nhead=2)
        ).eval(),
    )


def amused():
    return {
        **clip(projected=True),
        "transformer": UVit2DModel(
            hidden_size=8,
            use_bias=False,
            hidden_dropout=0.0,
            cond_embed_dim=WIDTH,
            micro_cond_encode_dim=2,
            micro_cond_embed_dim=10,
            encoder_hidden_size=WIDTH,
            vocab_size=32,
            codebook_size=32,
            in_channels=8,
            block_out_channels=8,
            num_res_blocks=1,
            downsample=True,
            upsample=True,
            block_num_heads=1,
            num_hidden_layers=1,
            num_attention_heads=1,
            attention_dropout=0.0,
            intermediate_size=8,
            layer_norm_eps=1e-6,
            ln_elementwise_affine=True,
        ).eval(),
        "vqvae": VQModel(
            act_fn="silu",
            block_out_channels=[8, 8],
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=8,
            norm_num_groups=4,
            num_vq_embeddings=32,
            mid_block_add_attention=False,
            lookup_from_codebook=True,
        ).eval(),
        "scheduler": AmusedScheduler(mask_token_id=31),
    }
