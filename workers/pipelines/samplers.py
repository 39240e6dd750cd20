"""The sampler of a diffusers pipeline, chosen by the recipe."""

import inspect
from typing import Any

import diffusers

from seedsweep.storage.errors import ModelLoadError


def choose_sampler(name: str | None, own: Any) -> Any:
    """The sampler of that name, set up as the model's own; its own if there is no name.

    Raises `ModelLoadError` if diffusers has none of that name, or it does not suit the model.
    """
    if not name:
        return own
    kind: Any = getattr(diffusers, name, None)
    if not _is_sampler(kind):
        raise ModelLoadError(
            f"{name!r} is no sampler of diffusers; name one such as DDIMScheduler, or leave "
            "sampling.sampler out for the model's own."
        )
    try:
        chosen = kind.from_config(own.config)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ModelLoadError(
            f"The sampler {name} does not suit the model ({error}); name another as "
            "sampling.sampler, or leave it out for the model's own."
        ) from error
    if _follows_a_flow(chosen) != _follows_a_flow(own):
        wanted, made = ("a flow", "noise") if _follows_a_flow(own) else ("noise", "a flow")
        raise ModelLoadError(
            f"The sampler {name} does not suit the model, whose network predicts {wanted} and not "
            f"{made}; name another as sampling.sampler, or leave it out for the model's own."
        )
    return chosen


def _follows_a_flow(sampler: Any) -> bool:
    """Whether it is for networks that predict a flow, by what it says of itself."""
    takes = inspect.signature(type(sampler).__init__).parameters
    if "use_flow_sigmas" in takes and sampler.config.get("use_flow_sigmas"):
        return True
    return "shift" in takes and "prediction_type" not in takes


def _is_sampler(kind: object) -> bool:
    return inspect.isclass(kind) and issubclass(kind, diffusers.SchedulerMixin)
