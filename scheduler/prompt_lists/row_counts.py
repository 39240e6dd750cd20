"""What became of the rows of a prompt list, and what of it may not be as it was meant."""

import re
from dataclasses import dataclass, field
from functools import lru_cache

from seedsweep.scheduler.prompt_lists.texts import has_controls
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.settings.sampling import PromptSettings, Sampling

_SETTINGS = frozenset(
    re.sub("[^a-z]", "", name)
    for name in (
        *Sampling.model_fields,
        *("seed", "step", "num_steps", "inference_steps", "num_inference_steps", "sampling_steps"),
        *("guidance", "cfg", "cfg_scale", "scale", "strength", "eta", "clip_skip", "denoise"),
        *("scheduler", "sampler_name", "sampling_method", "negative", "neg_prompt", "n_prompt"),
        *("size", "resolution", "aspect_ratio", "num_images", "n_samples", "n_iter", "lora"),
    )
)


@lru_cache(maxsize=10_000)
def is_called_like_a_setting(column: str) -> bool:
    """Whether a column's name is that of a setting, here or in other tools."""
    return re.sub("[^a-z]", "", column.lower()) in _SETTINGS


@dataclass(slots=True)
class RowCounts:
    """What became of the rows of a prompt list, up to its last prompt if it has a limit."""

    read: int = 0
    null: int = 0
    """No text: an empty cell of a .csv or .tsv, null, or an object without the key."""
    blank: int = 0
    """Nothing but white space."""
    broken: int = 0
    """Half a character in it, an unpaired surrogate, such as is left where a text was cut."""
    repeated: int = 0
    """A text that was there before."""
    joined: int = 0
    """A text that was there before, with other seeds in its list: these are added."""
    filled: int = 0
    """Prompts that list fewer seeds than they have pictures."""
    added: int = 0
    """Seeds that such prompts have beside those that they list."""
    alike: int = 0
    """Prompts that differ from another in nothing but how their accents are encoded."""
    controls: dict[str, int] = field(default_factory=dict)
    """Texts with control characters: prompts, negative prompts of their own, and keys of the
    campaign file."""
    longest: str = ""
    """Where the prompt of most lines stands, if one has several, and how many they are."""
    heading: str = ""
    """The first line, taken for the only column's name though it looks like a prompt."""
    numbers: int = 0
    """Prompts that are numbers."""
    unused: list[str] = field(default_factory=list)
    """Columns that are called like settings."""

    def count_controls(self, text: str, own: PromptSettings | None) -> None:
        """Note whether a prompt and its own negative prompt have control characters."""
        texts = {"prompt": text, "negative prompt": (own and own.negative_prompt) or ""}
        for what in (what for what, each in texts.items() if has_controls(each)):
            self.controls[what] = self.controls.get(what, 0) + 1

    def __str__(self) -> str:
        broken = f", {self.broken:,} with half a character" if self.broken else ""
        joined = f"; {self.joined:,} add seeds to the prompt of an earlier row" * bool(self.joined)
        return (
            f"{self.read:,} read; skipped {self.null:,} without a text, {self.blank:,} blank"
            f"{broken}, {self.repeated:,} repeated{joined}"
        )

    @property
    def skipped(self) -> int:
        """How many rows gave no prompt."""
        return self.null + self.blank + self.broken + self.repeated + self.joined

    @property
    def remarks(self) -> list[str]:
        """What may not be as it was meant, in sentences."""
        remarks = []
        if self.unused:
            remarks.append(
                f"Columns of the prompts that look like settings are not used: "
                f"{', '.join(self.unused)}; [prompts.settings] names those that are, and "
                "[sampling] has all other settings, the same for all prompts."
            )
        if self.filled:
            lists = "prompt lists" if self.filled == 1 else "prompts list"
            remarks.append(
                f"{self.filled:,} {lists} fewer seeds than sampling.seeds, so that "
                f"{self.added:,} of the campaign's own were added, those from sampling.first_seed "
                "on that are not listed; if you want none, make prompts of each number of seeds a "
                "campaign of their own."
            )
        if self.alike:
            differ = "prompt differs" if self.alike == 1 else "prompts differ"
            remarks.append(
                f"{self.alike:,} {differ} from another in nothing but how accents are encoded "
                "(Unicode's NFC and NFD); each is a prompt of its own."
            )
        if self.controls:
            texts = ", ".join(
                what if "." in what else count_words(count, what)
                for what, count in self.controls.items()
            )
            remarks.append(
                f"Control characters, which no one sees, stand in {texts}; the model is given them "
                "as they are."
            )
        if self.numbers > 1 and self.numbers == self.read - self.skipped:
            remarks.append(
                "All prompts are numbers, as in a column of ids; name the column of texts with "
                "`column`."
            )
        if self.heading:
            remarks.append(
                f"{self.heading!r} was taken for the name of the only column; if it is a prompt, "
                "set `header = false`."
            )
        if self.longest:
            remarks.append(
                f"{self.longest}; if that is not one text, a quote opens there that is not meant "
                'as one: set `quoting = "none"`.'
            )
        return remarks
