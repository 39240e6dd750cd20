"""A generator of 32 px pictures as a plug-in of seedsweep: a seed makes one picture.

`[model] path` is the file of its weights.
"""

from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seedsweep.pipelines import (
    Generation,
    Model,
    ModelLoadError,
    Provenance,
    Sampling,
    canonical,
    to_pixels,
)

SIZE = 32
"""Width and height of a picture, in pixels."""

LATENT = 64
"""How many random numbers make a picture."""


class Up(nn.Sequential):
    """Twice the width and height."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(wide, narrow, 3, padding=1),
            nn.GroupNorm(8, narrow),
            nn.SiLU(),
        )


class Generator(nn.Sequential):
    """(n, LATENT) normal numbers to (n, 3, SIZE, SIZE) in [-1, 1]: 0.2 M parameters."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(LATENT, 96 * 4 * 4),
            nn.Unflatten(1, (96, 4, 4)),
            nn.GroupNorm(8, 96),
            nn.SiLU(),
            Up(96, 80),
            Up(80, 48),
            nn.Conv2d(48, 48, 3, padding=1),
            nn.GroupNorm(8, 48),
            nn.SiLU(),
            nn.Conv2d(48, 12, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Tanh(),
        )


class GanPipeline:
    """Makes pictures of seeds; what the prompt says does not matter, since there is none."""

    def __init__(self, generator: Generator, sampling: Sampling, device: str, threads: int) -> None:
        self._generator, self._device, self._threads = generator, device, threads
        self._batch = sampling.batch_size

    def generate(self, prompt: str, seeds: Sequence[int]) -> list[Generation]:
        """One picture for each seed, whichever others are asked for with it."""
        provenance = self._provenance()
        made = []
        for start in range(0, len(seeds), self._batch):
            some = seeds[start : start + self._batch]
            pixels = self._draw(some).permute(0, 2, 3, 1).add(1).div(2).cpu().numpy()
            for seed, picture in zip(some, pixels, strict=True):
                made.append(Generation(seed, *to_pixels(picture, blanked=False), provenance))
        return made

    def with_sampling(self, sampling: Sampling) -> "GanPipeline":
        """The same generator; raises `ModelLoadError` if the recipe has a size that it has not."""
        _require_size(sampling)
        return GanPipeline(self._generator, sampling, self._device, self._threads)

    def _draw(self, seeds: Sequence[int]) -> Tensor:
        """Always a whole batch, since its shape alters the last bits of a picture."""
        numbers = [torch.randn(LATENT, generator=torch.Generator().manual_seed(s)) for s in seeds]
        padding = [numbers[0]] * (self._batch - len(numbers))
        with torch.inference_mode():
            return self._generator(torch.stack(numbers + padding).to(self._device))[: len(seeds)]

    def _provenance(self) -> Provenance:
        return Provenance(
            batch_size=self._batch,
            threads=self._threads,
            device=self._device,
            dtype="float32",
            versions=f"torch {torch.__version__}",
            recipe=canonical({"pipeline": "emoji-gan", "size": SIZE}),
        )


def load(model: Model, sampling: Sampling, device: str, threads: int) -> GanPipeline:
    """Load the weights at `model.path`; raises `ModelLoadError` if they are no such weights."""
    _require_size(sampling)
    torch.set_num_threads(threads)
    try:
        weights = load_file(model.path)
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(
            f"The weights {model.path} cannot be read ({error}); name those of a generator."
        ) from error
    generator = Generator()
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelLoadError(
            f"The weights {model.path} are not this generator's; name others."
        ) from error
    return GanPipeline(generator.eval().to(device), sampling, device, threads)


def _require_size(sampling: Sampling) -> None:
    if (sampling.width, sampling.height) != (SIZE, SIZE):
        raise ModelLoadError(
            f"This GAN makes pictures of {SIZE} x {SIZE} pixels; let sampling.width and height be "
            f"{SIZE}."
        )
