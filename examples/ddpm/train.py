"""Train the models without prompts on `train.parquet`: one with its copies, one without.

    python -m examples.ddpm.train
    python -m examples.ddpm.train --deduplicated

The first sees every picture as often as it has copies; the second sees each once an epoch, in as
many steps. A training that was cut goes on from its last checkpoint, at most two minutes old, when
the command is run again; what it draws at a step depends on the step alone.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import typer
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from examples.ddpm.pictures import HERE, SIZE
from examples.emoji.picture_files import read_pictures
from examples.emoji.training import (
    DEVICE,
    Averaged,
    Training,
    half_precise,
    rows_of,
    to_tensor,
)


def new_unet() -> UNet2DModel:
    """Build the denoiser: 1 M parameters, attention at 4 x 4."""
    return UNet2DModel(
        sample_size=SIZE,
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32, 48, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 3 + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * 3,
        attention_head_dim=16,
        norm_num_groups=8,
    )


def new_scheduler() -> DDPMScheduler:
    """Build the noise schedule: it ends at no signal, as sampling begins (arXiv 2305.08891)."""
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def loss_of(unet: UNet2DModel, scheduler: DDPMScheduler, x: torch.Tensor) -> torch.Tensor:
    """How far the velocities are from the true ones, at random times."""
    noise = torch.randn(x.shape).to(DEVICE)
    when = torch.randint(0, scheduler.config.num_train_timesteps, (len(x),)).to(DEVICE)
    noisy = scheduler.add_noise(x, noise, when)
    with half_precise():
        predicted = unet(noisy, when).sample
    return F.mse_loss(predicted.float(), scheduler.get_velocity(x, noise, when))


def save(unet: UNet2DModel, output: Path) -> None:
    """Save the pipeline in half precision."""
    pipeline = DDPMPipeline(unet=unet.half(), scheduler=new_scheduler())
    pipeline.save_pretrained(output, safe_serialization=True)


def main(
    training_set: Path = HERE / "train.parquet",
    output: Path | None = None,
    work: Path = HERE / "work",
    steps: int = 3_600,
    batch: int = 32,
    deduplicated: bool = False,
    threads: int = 1,
) -> None:
    """Train a denoiser, and save the whole pipeline; checkpoints go into `work`."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    output = output or HERE / ("deduplicated" if deduplicated else "model")
    pictures = read_pictures(training_set)
    x = to_tensor(np.stack([p.pixels for p in pictures])).to(DEVICE)
    copies = [1 if deduplicated else p.copies for p in pictures]
    rows = torch.repeat_interleave(torch.arange(len(pictures)), torch.tensor(copies))
    unet, scheduler = new_unet().to(DEVICE), new_scheduler()
    averaged = Averaged([unet], 0.999)
    training = Training(averaged, steps, 1.5e-3, work / f"{output.name}.checkpoint")
    losses: list[float] = []
    for step in training.each():
        torch.manual_seed(step)
        loss = loss_of(unet, scheduler, x[rows_of(step, rows, batch)])
        training.learn(loss)
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            training.say(f"loss {np.mean(losses[-100:]):.4f}")
    [average] = averaged.averages
    save(average, output)


if __name__ == "__main__":
    typer.run(main)
