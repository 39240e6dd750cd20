"""What no text for a model has, and what few have on purpose: the same for all of them."""

import re
from collections.abc import Iterator
from pathlib import Path

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.campaign import Campaign

NUL = "a NUL"

_HALF = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def flaw_of(text: str) -> str:
    """What the text holds that no text does, in words; empty if nothing."""
    if "\0" in text:
        return NUL
    return "half a character" if _HALF.search(text) else ""


def has_controls(text: str) -> bool:
    """Whether it has control characters other than tabs and ends of lines."""
    return bool(_CONTROL.search(text))


def keys_with_controls(campaign: Campaign) -> Iterator[str]:
    """The keys of a campaign file whose texts the model is given and that have such characters."""
    model = campaign.model
    texts = {
        "sampling.negative_prompt": [campaign.sampling.negative_prompt],
        "model.adapters.trigger": [adapter.trigger for adapter in model.adapters],
        "model.embeddings.token": [embedding.token for embedding in model.embeddings],
    }
    return (key for key, given in texts.items() if any(map(has_controls, given)))


def check_texts(raw: object, path: Path) -> None:
    """Raise `ConfigError` for a NUL in any text of a campaign file's tables."""
    left = [("", raw)]
    while left:
        where, value = left.pop()
        if isinstance(value, str) and flaw_of(value):
            raise ConfigError(
                f"{path}: {where} holds {flaw_of(value)}, which no text does; remove it."
            )
        if isinstance(value, dict):
            left += [(f"{where}.{key}".removeprefix("."), each) for key, each in value.items()]
        if isinstance(value, list):
            left += [(where, each) for each in value]
