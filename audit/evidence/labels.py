"""What people said of what prompts repeat and of training pictures, and how far they agree."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seedsweep.audit.evidence.verify_bundle import (
    LABELS,
    REVIEWER,
    extraction_items,
    other_pictures,
    part_matches,
    read_labels,
    read_shown,
    tally_labels,
)
from seedsweep.audit.findings.intervals import Rate, mcnemar, rate
from seedsweep.audit.findings.kappa import Kappa, cohen_kappa
from seedsweep.audit.findings.people import Reviewer, refuse_strange
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.extractions import Extractions
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.verification_results import VerificationResult


@dataclass(frozen=True, slots=True)
class Labels:
    """One reviewer's labels by item, as of `item_of`, and the CSV that they were read from. `seen`:
    the digests of the two pictures that were labelled, none in files of earlier versions."""

    reviewer: str
    csv: bytes
    given: dict[str, str]
    seen: dict[str, tuple[str, str]]

    @property
    def person(self) -> Reviewer:
        """The reviewer, as a report shows what they said."""
        return Reviewer(self.reviewer, self.given, self.seen)


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """How often two reviewers said the same of what both labelled, with its exact interval, and
    Cohen's kappa of it, which sets that against chance.

    `mcnemar_p` is of "same" against all else: whether one of them says it more readily.
    """

    a: str
    b: str
    agreement: Rate
    kappa: Kappa
    mcnemar_p: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """What reviewers said, as `tally_labels` counts it, and in sentences. `pairs` is of whole
    pictures, `part_pairs` of parts, `extraction_pairs` of what a campaign without prompts
    extracts."""

    counts: dict[str, Any]
    pairs: tuple[PairAgreement, ...]
    part_pairs: tuple[PairAgreement, ...]
    extraction_pairs: tuple[PairAgreement, ...]
    in_words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Words:
    """What an item is called, and `which` there are; what it shows; several that people labelled;
    and none."""

    item: str
    which: str
    shows: str
    several: str
    none: str


_WHOLE = _Words("prompt", "with a match", "picture", "what", "nothing")
_CLIQUE = replace(_WHOLE, item="clique")
_PART = _Words("part", "with a match", "part", "parts that", "no part")
_EXTRACTION = _Words(
    "training picture", "that generations extract", "picture", "extractions that", "no extraction"
)


def labels_file(folder: Path, reviewer: str) -> Path:
    """Where a reviewer's labels are; raises `ConfigError` for a name that no file can have."""
    if not re.fullmatch(REVIEWER, reviewer):
        raise ConfigError(
            f"{reviewer!r} cannot name a reviewer; use letters, digits, '.', '_' and '-' alone."
        )
    return folder / f"labels-{reviewer}.csv"


def open_labels(path: Path) -> Labels:
    """Read a reviewer's labels; raises `ConfigError` if they are not what `label` writes."""
    named = re.fullmatch(rf"labels-({REVIEWER})\.csv", path.name)
    if named is None:
        raise ConfigError(f"{path} does not name a reviewer; call it labels-NAME.csv.")
    try:
        csv = path.read_bytes()
        return Labels(named[1], csv, read_labels(csv), read_shown(csv))
    except OSError as error:
        raise ConfigError(
            f"The labels {path} cannot be read ({error.strerror}); name a file that `seedsweep "
            "label` wrote."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"The labels {path} are not what `seedsweep label` writes ({error}); restore them."
        ) from error


def agreement(
    labels: Sequence[Labels],
    results: Sequence[PromptResult],
    shown: Mapping[str, tuple[str, str]],
    searches: Sequence[VerificationResult] = (),
    found: Extractions | None = None,
) -> Agreement:
    """Count labels, and how far each two reviewers agree on what both labelled.

    `searches`, the newest first, say what parts match; `found`, what a campaign without prompts
    extracts. `shown`: by item the digests of the pictures that these results show, as far as they
    are known. Raises `ConfigError` for two files of one
    reviewer, and for labels of what has no match, or of other pictures than these.
    """
    given = {reviewer.reviewer: reviewer.given for reviewer in labels}
    told = [result.model_dump(mode="json") for result in results]
    parts = part_matches(told, [search.model_dump(mode="json") for search in searches[:1]])
    matched = {result.prompt_id for result in results if result.flagged and result.match}
    extractions = extraction_items(found.model_dump(mode="json") if found else None)
    known = matched | {*parts, *extractions}
    refuse_strange([reviewer.person for reviewer in labels], known)
    for reviewer in labels:
        if others := other_pictures(reviewer.seen, dict(shown)):
            raise ConfigError(
                f"The labels of {reviewer.reviewer} are of other pictures than this analysis shows "
                f"({', '.join(others[:3])}); have them label a bundle of this one."
            )
    counts = tally_labels(given, told, parts, extractions)
    nobody: dict[str, Any] = {"pairs": ()}
    of_parts, of_extractions = (counts.get(kind, nobody) for kind in ("parts", "extractions"))
    pairs, part_pairs, extraction_pairs = (
        tuple(_agreement(pair, given, items) for pair in counted["pairs"])
        for counted, items in (
            (counts, matched),
            (of_parts, {*parts}),
            (of_extractions, {*extractions}),
        )
    )
    in_words: list[str] = []
    if matched or known == matched:
        in_words += _in_words(counts, pairs, _CLIQUE if found else _WHOLE)
    if "parts" in counts:
        in_words += _in_words(of_parts, part_pairs, _PART)
    if "extractions" in counts:
        in_words += _in_words(of_extractions, extraction_pairs, _EXTRACTION)
    return Agreement(counts, pairs, part_pairs, extraction_pairs, tuple(in_words))


def _agreement(
    pair: dict[str, Any], given: dict[str, dict[str, str]], items: Set[str]
) -> PairAgreement:
    """How far two reviewers agree on what both labelled of these items."""
    table = pair["table"]
    other = [label for label in LABELS if label != "same"]
    only_a = sum(table["same"][label] for label in other)
    only_b = sum(table[label]["same"] for label in other)
    agreed = rate(pair["agreed"], pair["both_labelled"])
    a, b = given[pair["a"]], given[pair["b"]]
    both = sorted({*a} & {*b} & items)
    kappa = cohen_kappa([a[item] for item in both], [b[item] for item in both], LABELS)
    return PairAgreement(pair["a"], pair["b"], agreed, kappa, mcnemar(only_a, only_b))


def _in_words(
    counts: dict[str, Any], pairs: Sequence[PairAgreement], words: _Words
) -> Iterator[str]:
    for reviewer, given in counts["reviewers"].items():
        said = ", ".join(f"{label} {count}" for label, count in given["matched"].items())
        yield f"{reviewer}, of {count_words(counts['matched'], words.item)} {words.which}: {said}."
    for pair in pairs:
        how = f"{100 * pair.agreement.confidence:g} %, {pair.agreement.method}"
        yield (
            f"{pair.a} and {pair.b} agree on {pair.agreement} ({how}) of {words.several} both "
            f"labelled; Cohen's kappa {pair.kappa}; McNemar's p for calling one the same is "
            f"{pair.mcnemar_p:.2g}."
        )
    confirmed = counts["confirmed"]
    if confirmed is None:
        yield f"One reviewer alone confirms {words.none}."
        return
    extracted = confirmed["extracted"]
    labelled = count_words(extracted["of"], f"extracted {words.item}")
    yield (
        f"Confirmed, since every reviewer called it the same {words.shows}: "
        f"{extracted['n']} of {labelled} that all of them labelled. "
        f"Extracted in all: {counts['extracted']}."
    )
