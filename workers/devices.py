"""Which devices this machine has, found without importing torch."""

import os
import re
from pathlib import Path

from seedsweep.storage.errors import ConfigError

_NODE = re.compile(r"nvidia(\d+)$")


def visible_devices() -> list[str]:
    """Name the CUDA devices as torch does (`cuda:0`, …), or `cpu` if there are none.

    `CUDA_VISIBLE_DEVICES` counts if it is set: torch numbers what it leaves visible from 0.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        chosen = [name for name in visible.split(",") if name.strip() not in ("", "-1")]
        count = len(chosen)
    else:
        count = sum(bool(_NODE.match(node.name)) for node in Path("/dev").glob("nvidia*"))
    return [f"cuda:{number}" for number in range(count)] or ["cpu"]


def choose_device(name: str | None) -> str:
    """The named device, or the first visible one; raises `ConfigError` if it is not here."""
    visible = visible_devices()
    if name is None:
        return visible[0]
    if name not in {*visible, "cpu"}:
        known = ", ".join(dict.fromkeys([*visible, "cpu"]))
        raise ConfigError(
            f"There is no device {name!r} here, only {known}; name one of those, or see "
            "CUDA_VISIBLE_DEVICES."
        )
    return name
