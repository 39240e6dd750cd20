"""Training steps that go on where they were cut."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CHECKPOINT_SECONDS = 120


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Turn (n, height, width, 3) uint8 into (n, 3, height, width) float32 in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def half_precise() -> torch.autocast:
    """Compute in bfloat16 what bears it, which is nearly twice as fast."""
    return torch.autocast(DEVICE.type, torch.bfloat16)


def rows_of(step: int, rows: torch.Tensor, batch: int) -> torch.Tensor:
    """What a step sees: every epoch deals all rows anew, and leaves over less than a batch."""
    epoch, place = divmod(step, len(rows) // batch)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch))
    return rows[order[place * batch : (place + 1) * batch]]


@dataclass
class Averaged:
    """Modules, and the moving average of their weights: what is saved in the end."""

    modules: list[torch.nn.Module]
    decay: float
    averages: list[torch.nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.averages = [copy.deepcopy(m).eval().requires_grad_(False) for m in self.modules]

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [p for module in self.modules for p in module.parameters()]

    def update(self, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        mine = [p for module in self.averages for p in module.parameters()]
        torch._foreach_lerp_(mine, [p.detach() for p in self.parameters], 1 - decay)


class Training:
    """Steps of AdamW that go on from the checkpoint in `file`, if one is there."""

    def __init__(self, averaged: Averaged, steps: int, rate: float, file: Path) -> None:
        self._averaged, self._steps, self._rate, self._file = averaged, steps, rate, file
        self._optimizer = torch.optim.AdamW(averaged.parameters, lr=rate, betas=(0.9, 0.99))
        self.step, self._seconds = 0, 0.0
        if file.exists():
            self._restore(torch.load(file, map_location=DEVICE, weights_only=True))

    def each(self) -> Iterator[int]:
        """The steps that are left; at each, `learn` is to be called once."""
        began, saved = time.monotonic() - self._seconds, time.monotonic()
        while self.step < self._steps:
            yield self.step
            self.step += 1
            self._seconds = time.monotonic() - began
            if time.monotonic() - saved > CHECKPOINT_SECONDS or self.step == self._steps:
                self._save()
                saved = time.monotonic()

    def learn(self, loss: torch.Tensor) -> None:
        """Take one step downhill: warm up, then linearly less to a fiftieth."""
        rest = 1 - self.step / self._steps
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * min(1.0, (self.step + 1) / 200, 0.02 + 1.2 * rest)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._averaged.parameters, 1.0)
        self._optimizer.step()
        self._averaged.update(self.step)

    def say(self, words: str) -> None:
        print(f"step {self.step + 1}/{self._steps}, {words}, {self._seconds:.0f} s", flush=True)

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._file.with_suffix(".unfinished")
        modules = self._averaged.modules + self._averaged.averages
        state = {
            "step": self.step,
            "seconds": self._seconds,
            "modules": [module.state_dict() for module in modules],
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, unfinished)
        unfinished.replace(self._file)

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self._seconds = state["step"], state["seconds"]
        modules = self._averaged.modules + self._averaged.averages
        for module, weights in zip(modules, state["modules"], strict=True):
            module.load_state_dict(weights)
        self._optimizer.load_state_dict(state["optimizer"])
        print(f"goes on after step {self.step}", flush=True)
