"""What a search of a training set found for a campaign."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from seedsweep.storage.prompt_results import Match, Shift
from seedsweep.storage.record import Record, Seed, digest
from seedsweep.storage.settings.analysis import WHEREABOUTS, Verification


class Unreadable(Record):
    """A picture that could not be read, or a file that breaks off, and why."""

    name: str
    reason: str


class Omitted(Record):
    """How many files of a folder, members of tars or rows are of a kind that is no picture."""

    kind: str
    count: int


class Coverage(Record):
    """What of a set of pictures was searched.

    `listing` names its files by name and size; `pictures` is how many it holds as far as that could
    be told, `unreadable` how many of them are no evidence, the first of which are `examples`.
    `broken` files end early: what else a tar among them holds is not known, and not counted.
    `left_out` is what was taken for no picture.
    """

    path: str
    listing: str
    pictures: int
    unreadable: int
    examples: tuple[Unreadable, ...] = ()
    broken: tuple[Unreadable, ...] = ()
    left_out: tuple[Omitted, ...] = ()

    @property
    def read(self) -> int:
        """How many pictures could be read."""
        return self.pictures - self.unreadable


class VerifiedClique(Record):
    """The representative of a clique of a flagged prompt, and the training picture nearest to it.

    `copies` is k of Definition 2: how many training pictures are near-copies of the matched one,
    itself among them.
    """

    prompt_id: str
    prompt: str
    seed: Seed
    match: Match
    copies: int
    caption: str | None


class UnverifiedClique(Record):
    """A clique of a flagged prompt whose representative could not be looked at."""

    prompt_id: str
    prompt: str
    seed: Seed
    reason: str


class ControlMatch(Record):
    """The control picture nearest to the representative of a clique, judged as if it were one of
    the training set: nobody trained on it, so an extraction is a false one. `extracts_from`: the
    threshold of l2 from which it would be one, None if it is at none."""

    prompt_id: str
    seed: Seed
    l2: float
    adaptive: float | None
    agreement: float | None
    extracts_from: float | None


class ControlMatches(Record):
    """Pictures that were never trained on, searched alike: `matches` of `searched` would count as
    extracted. `coverage` is of those that were met for it: `whole` says if that is all of the set.
    `of_cliques`: what the cliques, in their order, would match among them; none in results of
    earlier versions.
    """

    coverage: Coverage
    whole: bool
    searched: int
    matches: int
    of_cliques: Annotated[
        tuple[ControlMatch, ...], Field(exclude_if=lambda matches: not matches)
    ] = ()

    def false_extractions(self, threshold: float) -> int:
        """How many cliques would extract a control within that l2."""
        limits = (match.extracts_from for match in self.of_cliques)
        return sum(limit is not None and limit <= threshold for limit in limits)


class PartMatch(Record):
    """The training picture nearest to a part of a picture that a prompt repeats: of the pixels of
    the part's mask, once each colour's mean over these is taken off.

    `copies`: how many training pictures show the part, within the threshold of l2 and correlated as
    its tiles are; `unrelated`: how many of those whose captions were looked at have one that shares
    no word with the prompt. `elsewhere`: how many pictures of other parts, of unrelated prompts,
    show it. `controls`: how many pictures that were never trained on do, and `control_l2` how near
    the nearest of them is, both None where none were searched. `showing`: the ids of the first
    training pictures that show the part, beside the nearest. `shift`: where that nearest one
    shows the part, beside the representative. `second_model`: how many pictures of the same prompt
    show it that a model made which never saw the training pictures, None if none is known that do;
    a search does not store it.
    """

    training_id: str
    caption: str | None
    l2: float
    correlation: float
    copies: int
    unrelated: int
    elsewhere: int
    controls: int | None = None
    control_l2: float | None = None
    shift: Annotated[Shift, Field(exclude_if=lambda shift: shift == Shift())] = Shift()
    second_model: Annotated[int | None, Field(exclude_if=lambda count: count is None)] = None
    showing: Annotated[tuple[str, ...], Field(exclude_if=lambda names: not names)] = ()

    @property
    def is_common(self) -> bool:
        """Whether what has nothing to do with the prompt shows the part as well: a frame, a logo, a
        background of a studio; or a model that never saw the training pictures."""
        return self.unrelated > 0 or self.elsewhere > 0 or bool(self.second_model)

    @property
    def extracted(self) -> bool:
        """Whether a training picture shows the part, and nothing else that it should not."""
        return self.copies > 0 and not self.is_common and not self.controls


class VerifiedPart(Record):
    """A part that a prompt repeats, and what it matches."""

    prompt_id: str
    prompt: str
    part_id: str
    share: float
    match: PartMatch


class VerificationResult(Record):
    """What a search of a training set for a campaign's flagged pictures found.

    `cliques` are those of the best prompt first, of each prompt the largest first: one prompt can
    repeat several pictures. `groups` are the names of all training pictures that were extracted,
    near-copies of its first in one group. `parts` are the parts of pictures that prompts repeat,
    `parts_not_verified` those of which a picture could not be had. Parts of which a version before
    told the place among a prompt's, and not which ones they are, count as not searched.
    """

    campaign_id: str
    analysis_id: str
    settings: Verification
    verified_at: str
    versions: str
    coverage: Coverage
    cliques: tuple[VerifiedClique, ...]
    not_verified: tuple[UnverifiedClique, ...]
    groups: tuple[tuple[str, ...], ...]
    controls: ControlMatches | None = None
    parts: Annotated[tuple[VerifiedPart, ...], Field(exclude_if=lambda parts: not parts)] = ()
    parts_not_verified: Annotated[
        tuple[UnverifiedClique, ...], Field(exclude_if=lambda parts: not parts)
    ] = ()

    @field_validator("parts", mode="before")
    @classmethod
    def _without_nameless(cls, parts: Any) -> Any:
        if not isinstance(parts, list | tuple):
            return parts
        return [each for each in parts if not (isinstance(each, dict) and "number" in each)]

    @property
    def prompts(self) -> frozenset[str]:
        """The ids of the flagged prompts of which a clique was looked at."""
        return frozenset(clique.prompt_id for clique in self.cliques)

    @property
    def prompts_extracted(self) -> frozenset[str]:
        """The ids of those prompts that extract a training picture, or several."""
        return frozenset(clique.prompt_id for clique in self.cliques if clique.match.extracted)

    @property
    def prompts_extracted_partial(self) -> frozenset[str]:
        """The ids of the prompts that extract a part of a training picture."""
        return frozenset(part.prompt_id for part in self.parts if part.match.extracted)

    @property
    def verification_id(self) -> str:
        """Names what was searched for, and where: the same search again has the same one."""
        controls = self.controls.coverage.listing if self.controls else ""
        return digest(
            {
                "analysis": self.analysis_id,
                "settings": self.settings.model_dump(exclude=set(WHEREABOUTS)),
                "sets": [self.coverage.listing, controls],
            }
        )
