"""Tiny diffusers pipelines that make pictures of seeds alone."""

import shutil

import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    ConsistencyModelPipeline,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    LDMPipeline,
    PNDMPipeline,
    PNDMScheduler,
    ScoreSdeVePipeline,
    ScoreSdeVeScheduler,
    UNet2DModel,
    VQModel,
)

SIDE = 16
LENGTH = 20


def unet(channels=3, size=SIDE, **settings):
    """A network of two levels, with random weights."""
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        **settings,
    ).eval()


def vqvae():
    """An autoencoder that halves the side."""
    torch.manual_seed(1)
    return VQModel(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=3,
        num_vq_embeddings=8,
    ).eval()


def ddpm(**settings):
    return DDPMPipeline(unet(**settings), DDPMScheduler(num_train_timesteps=LENGTH))


SEED_PIPELINES = {
    "ConsistencyModelPipeline": lambda: ConsistencyModelPipeline(
        unet(), CMStochasticIterativeScheduler()
    ),
    "DDIMPipeline": lambda: DDIMPipeline(unet(), DDIMScheduler(num_train_timesteps=LENGTH)),
    "DDPMPipeline": ddpm,
    "LDMPipeline": lambda: LDMPipeline(
        vqvae(), unet(size=SIDE // 2), DDIMScheduler(num_train_timesteps=LENGTH)
    ),
    "PNDMPipeline": lambda: PNDMPipeline(unet(), PNDMScheduler(num_train_timesteps=LENGTH)),
    "ScoreSdeVePipeline": lambda: ScoreSdeVePipeline(
        unet(), ScoreSdeVeScheduler(num_train_timesteps=LENGTH)
    ),
}
"""By the name of a class, one of 16 px pictures."""

NOT_MADE = {"KarrasVePipeline": "diffusers saves its sampler where it does not find it again"}


def save_ddpm(folder, **settings):
    """A DDPM of 16 px pictures, or of other settings of its network."""
    ddpm(**settings).save_pretrained(folder)
    return folder


def lay_flat(folder):
    """Move the network and the sampler beside the index, as early models have them."""
    for name in ("unet", "scheduler"):
        for file in (folder / name).iterdir():
            shutil.move(file, folder / file.name)
        (folder / name).rmdir()
    return folder
