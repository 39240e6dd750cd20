"""Train the GAN on the pictures of the models without prompts, with their copies.

    python -m examples.gan.train

Takes about five minutes of one core. It learns by the hinge loss (arXiv 1705.02894), with spectral
norms (arXiv 1802.05957) and what both nets see shifted and recoloured (arXiv 2006.10738).
"""

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import typer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from examples.ddpm.pictures import HERE as PICTURES
from examples.emoji.picture_files import read_pictures
from examples.emoji.training import DEVICE, Averaged, half_precise, rows_of, to_tensor
from examples.gan.emoji_gan import LATENT, Generator

HERE = Path(__file__).parent


def new_critic() -> nn.Sequential:
    """Build the net that tells true pictures from made ones: 0.3 M parameters."""

    def half(narrow: int, wide: int) -> list[nn.Module]:
        return [
            spectral_norm(nn.Conv2d(narrow, wide, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
        ]

    return nn.Sequential(
        nn.PixelUnshuffle(2),
        spectral_norm(nn.Conv2d(12, 32, 3, padding=1)),
        nn.LeakyReLU(0.2),
        *half(32, 64),
        *half(64, 128),
        nn.Flatten(),
        spectral_norm(nn.Linear(128 * 4 * 4, 1)),
    )


def disturbed(x: Tensor, by: torch.Generator) -> Tensor:
    """Shift pictures by up to 4 pixels, and change their brightness: the critic cannot learn them
    by heart, and the generator does not learn the change."""
    bright = torch.rand(len(x), 1, 1, 1, generator=by).to(x) - 0.5
    shift = torch.randint(-4, 5, (len(x), 2), generator=by)
    grid = F.affine_grid(torch.eye(2, 3).to(x).repeat(len(x), 1, 1), x.shape, align_corners=False)
    moved = grid + (shift * 2 / x.shape[-1]).to(x)[:, None, None, :]
    return F.grid_sample(x + bright, moved, "nearest", "reflection", align_corners=False)


def main(steps: int = 5_000, batch: int = 32, threads: int = 1) -> None:
    """Train, and save the average of the generator."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    by = torch.Generator().manual_seed(0)
    pictures = read_pictures(PICTURES / "train.parquet")
    x = to_tensor(np.stack([p.pixels for p in pictures])).to(DEVICE)
    rows = torch.repeat_interleave(
        torch.arange(len(pictures)), torch.tensor([p.copies for p in pictures])
    )
    generator, critic = Generator().to(DEVICE), new_critic().to(DEVICE)
    averaged = Averaged([generator], 0.999)
    up = torch.optim.Adam(generator.parameters(), 4e-4, (0.0, 0.99))
    down = torch.optim.Adam(critic.parameters(), 4e-4, (0.0, 0.99))
    began = time.process_time()
    for step in range(steps):
        true = x[rows_of(step, rows, batch)]
        with half_precise():
            made = generator(torch.randn(batch, LATENT, generator=by).to(DEVICE)).float()
            for_true, for_made = (critic(disturbed(some, by)) for some in (true, made.detach()))
        loss = F.relu(1 - for_true.float()).mean() + F.relu(1 + for_made.float()).mean()
        down.zero_grad()
        loss.backward()
        down.step()
        with half_precise():
            fooled = -critic(disturbed(made, by)).float().mean()
        up.zero_grad()
        fooled.backward()
        up.step()
        averaged.update(step)
        taken = time.process_time() - began
        if (step + 1) % 500 == 0:
            print(
                f"step {step + 1}/{steps}, critic {loss.item():.2f}, {taken:.0f} s of a core",
                flush=True,
            )
    [average] = averaged.averages
    weights = {
        name: value.half().contiguous().cpu() for name, value in average.state_dict().items()
    }
    save_file(weights, HERE / "generator.safetensors")


if __name__ == "__main__":
    typer.run(main)
