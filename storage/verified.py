"""What a search of a training set found for a campaign."""

from typing import Literal

from storage.records import Match, Record, Seed, Verification, digest


class Transform(Record):
    """How a training picture came to the generations' geometry.

    `width` and `height` are as it is stored, `orientation` is EXIF's (1: upright), which was
    undone; `transparent`: it was put on white; `profile` names the colour profile that it was
    converted from, empty for sRGB and for none. `resize` and `crop` are none where it fits.
    `flip`: it was mirrored, since that is nearer.
    """

    width: int
    height: int
    orientation: int = 1
    transparent: bool = False
    profile: str = ""
    resize: Literal["none", "short-side", "stretch"]
    crop: Literal["none", "center"]
    flip: bool = False


class Unreadable(Record):
    """A picture that could not be read, or a file that breaks off, and why."""

    name: str
    reason: str


class Coverage(Record):
    """What of a set of pictures was searched.

    `listing` names its files by name and size; `pictures` is how many it holds as far as that could
    be told, `unreadable` how many of them are no evidence, the first of which are `examples`.
    `broken` files end early: what else a tar among them holds is not known, and not counted.
    """

    path: str
    listing: str
    pictures: int
    unreadable: int
    examples: tuple[Unreadable, ...] = ()
    broken: tuple[Unreadable, ...] = ()

    @property
    def read(self) -> int:
        """How many pictures could be read."""
        return self.pictures - self.unreadable


class VerifiedPrompt(Record):
    """A flagged prompt's representative, and the training picture nearest to it.

    `copies` is k of Definition 2: how many training pictures are within the threshold of the
    matched one, itself among them.
    """

    prompt_id: str
    prompt: str
    seed: Seed
    match: Match
    copies: int
    caption: str | None
    transform: Transform


class UnverifiedPrompt(Record):
    """A flagged prompt whose representative could not be looked at."""

    prompt_id: str
    prompt: str
    reason: str


class ControlMatches(Record):
    """Pictures that were never trained on, searched alike: `matches` of `searched` would count as
    extracted. `coverage` is of those that were met for it: `whole` says if that is all of the set.
    """

    coverage: Coverage
    whole: bool
    searched: int
    matches: int


class VerificationResult(Record):
    """What a search of a training set for a campaign's flagged pictures found.

    `prompts` are best first. `groups` are the names of all training pictures that were extracted:
    those within the threshold of each other, by way of others among them, are in one group.
    `flip`: each training picture was compared as it is and mirrored.
    """

    campaign_id: str
    analysis_id: str
    settings: Verification
    flip: bool
    verified_at: str
    versions: str
    coverage: Coverage
    prompts: tuple[VerifiedPrompt, ...]
    not_verified: tuple[UnverifiedPrompt, ...]
    groups: tuple[tuple[str, ...], ...]
    controls: ControlMatches | None = None

    @property
    def extracted(self) -> tuple[VerifiedPrompt, ...]:
        """The prompts whose match is an extraction."""
        return tuple(prompt for prompt in self.prompts if prompt.match.extracted)

    @property
    def verification_id(self) -> str:
        """Names what was searched for, and where: the same search again has the same one."""
        controls = self.controls.coverage.listing if self.controls else ""
        return digest(
            {
                "analysis": self.analysis_id,
                "settings": self.settings.model_dump(exclude={"training_set"}),
                "flip": self.flip,
                "sets": [self.coverage.listing, controls],
            }
        )
