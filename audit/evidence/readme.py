"""A bundle's README: how to check it, what is in it, and what it cannot say."""

import textwrap
from dataclasses import dataclass

from seedsweep.audit.evidence.denominators import Denominators
from seedsweep.audit.findings.rate_words import NOT_EXAMINED
from seedsweep.scheduler.printable import shown_lines

WIDTH = 92

_VERIFY = """\
    python3 verify_bundle.py
    python3 verify_bundle.py --distances
    python3 verify_bundle.py --key PUBLIC.pem

verify_bundle.py needs Python 3.9 or newer and nothing else: no network, no package. It checks:

    - each file is as manifest.json says, and none was added. Only labels-NAME.csv may be:
      there `seedsweep label` keeps what reviewers answer later, and it names them;
    - each stored PNG has the pixels whose sha256 was recorded when it was made;
    - the ids of campaign, recipe and analysis are those of what is in it;
    - the counts are those of the results, and each verdict is what distances and thresholds say;
    - each representative is as far from its training picture as said;
    - how far reviewers agree, Cohen's kappa among it, is what their labels say.

It does not compute intervals, p and adaptive scores again, and does not read the sentences of \
this file. --distances also computes every distance within the cliques again. That takes long \
for large pictures, and it says how far it is. If the bundle is signed, the command openssl (3.0 \
or newer) checks the signature.

Hashes show that a file was changed by somebody who did not change the manifest too. Who could \
change all of it could make it whole again: note the sha256 of manifest.json elsewhere when you \
receive the bundle, or have it signed and get the public key from the signer by another way, and \
take the verifier from a copy of seedsweep (audit/evidence/verify_bundle.py) that you trust."""

_FILES = """\
index.html      the findings, with their pictures: begin here
manifest.json   hashes of all files, ids, settings, versions, and what was counted
SHA256SUMS      the hash of the manifest, and of its signature
campaign.json   the campaign as it was stored when it was submitted
prompts.json    its prompts, in order
settings.json   the settings that each of them has of its own, where they have any
results.json    what the analysis says of every prompt, in the order of the report
parked.json     units that were given up, and why
images.json     every known image of flagged prompts: the digest of its pixels, what made it
images/         the pictures of the cliques, as they were stored
training.json   the training pictures that were matched, and how they were prepared
training/       these pictures, brought to the generations' size, as they were compared
parts.json      the parts of pictures that repeat, where any were looked for
parts/          their masks, the generations that show them, and the training pictures that do
extractions.json
                without prompts: the distinct training pictures that generations extract
generations.json
                without prompts: every generation with the training picture nearest to it, ranked
extractions/    the best generation of each distinct training picture, as it was stored
replays.json    images that were made again from their records, where that was asked for
labels/         what people said, a file for each reviewer, where somebody looked
labels.json     counts of that, and how far reviewers agree
verifications.json
                what searches of the whole training set found, newest first, where there were any"""

_NOT_SEARCHED = "For this analysis the training set was not searched with `seedsweep verify`."

_LIMITS = """\
Flagged, matched and extracted are computed; they confirm nothing. Confirmed is what every one of \
at least two people called the same picture, or the same part, without knowing what the other one \
said.

The fingerprint of the model says which files were loaded, not how they were trained. Times are \
those of the machines that wrote them. Images of prompts that are not flagged are counted here and \
not held: their verdicts cannot be checked from this bundle. What made an image is as its worker \
recorded it."""


@dataclass(frozen=True, slots=True)
class ReadmeContents:
    """What of the bundle its README tells."""

    campaign_id: str
    analysis_id: str
    thresholds_fixed: str
    denominators: Denominators
    missing: tuple[str, ...]
    people_said: tuple[str, ...]
    search: tuple[str, ...]
    limits: tuple[str, ...]
    signed: bool
    findings: str
    replays: tuple[str, ...]
    files: tuple[str, ...]


def readme(contents: ReadmeContents) -> str:
    """Write the bundle's README; it names no prompt."""
    counts = [_counted(name, share) for name, share in contents.denominators.items()]
    missing = contents.missing or ("Nothing.",)
    search = contents.search or (_NOT_SEARCHED,)
    people_said = contents.people_said or ("Nobody's labels are in it: nothing is confirmed.",)
    parts = [
        f"Evidence of the audit {contents.campaign_id}, analysis {contents.analysis_id}",
        _wrapped("The bundle is " + ("signed." if contents.signed else "not signed.")),
        _titled("How to check it", _wrapped(_VERIFY)),
        _titled("What was found", contents.findings),
        _titled("What is in it", _held(contents.files)),
        _titled("What was counted", "\n".join(counts)),
        _titled("What a search of the training set found", "\n".join(map(_wrapped, search))),
        *(
            [_titled("What was made again", "\n".join(map(_wrapped, contents.replays)))]
            if contents.replays
            else []
        ),
        _titled("What people said", "\n".join(map(_wrapped, people_said))),
        _titled("When the thresholds were fixed", _wrapped(contents.thresholds_fixed)),
        _titled("What could not be put in", "\n".join(map(_wrapped, missing))),
        _titled(
            "What this audit can not say", "\n\n".join(map(_wrapped, (*contents.limits, _LIMITS)))
        ),
    ]
    return shown_lines("\n\n".join(parts)) + "\n"


def _held(files: tuple[str, ...]) -> str:
    """What the bundle holds of all that one may hold, each with what it is."""
    always = ("manifest.json", "SHA256SUMS")
    lines, is_held = [], False
    for line in _FILES.splitlines():
        name = line.split(" ", 1)[0]
        if name:
            is_held = name in always or any(
                file == name or (name.endswith("/") and file.startswith(name)) for file in files
            )
        if is_held:
            lines.append(line)
    return "\n".join(lines)


def _counted(name: str, share: dict[str, int] | None) -> str:
    told = f"{share['n']:>12,} of {share['of']:,}" if share else f"{NOT_EXAMINED:>12}"
    return f"{told}  {name}"


def _titled(title: str, text: str) -> str:
    return f"{title}\n{'-' * len(title)}\n{text}"


def _wrapped(text: str) -> str:
    return "\n\n".join(
        part if part.startswith(" ") else textwrap.fill(part, WIDTH) for part in text.split("\n\n")
    )
