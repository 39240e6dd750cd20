"""Looking on while a diffusers pipeline samples, and stopping it once enough is seen."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Enough(Exception):
    """What was wanted is seen, so the pipeline need not go on."""


@contextmanager
def watched_scaling(sampler: Any, see: Callable[[], None]) -> Iterator[None]:
    """Call `see` whenever the pipeline has the sampler scale what the network is given."""
    if not hasattr(sampler, "scale_model_input"):
        yield
        return
    scale = sampler.scale_model_input

    def scale_model_input(*args: Any, **kwargs: Any) -> Any:
        see()
        return scale(*args, **kwargs)

    sampler.scale_model_input = scale_model_input
    try:
        yield
    finally:
        del sampler.scale_model_input


@contextmanager
def watched_steps(sampler: Any, see: Callable[[Any], None]) -> Iterator[None]:
    """Call `see` with what the sampler is given at each step, guidance included, before it takes
    the step. What `see` raises ends the pipeline's call. A sampler without steps is left alone."""
    if not hasattr(sampler, "step"):
        yield
        return
    take = sampler.step

    # Pipelines ask for the signature of the sampler's step, so it has to stay.
    @functools.wraps(take)
    def step(model_output: Any, *args: Any, **kwargs: Any) -> Any:
        see(model_output)
        return take(model_output, *args, **kwargs)

    sampler.step = step
    try:
        yield
    finally:
        del sampler.step
