"""The commands that make a bundle of evidence, and have people look at it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedsweep.cli.options import CampaignId, StoreUrl, find_campaign, find_store, say, show

if TYPE_CHECKING:
    from seedsweep.audit.replay.replay import Replays
    from seedsweep.storage.store import Store


def evidence(
    campaign_id: CampaignId,
    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"),
            metavar="DIR",
            help="A new folder for the bundle; ./seedsweep-evidence/ID unless given.",
        ),
    ] = None,
    replays: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Make N images again, and add them; needs the model."
        ),
    ] = None,
    sample_seed: Annotated[int, typer.Option(help="The same number draws the same images.")] = 0,
    labels: Annotated[
        list[Path] | None,
        typer.Option(metavar="CSV", help="What a reviewer said: a labels-NAME.csv."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P", help="Only pictures of this prompt (text or id); may be repeated."
        ),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY.pem", help="Sign with this ed25519 private key.")
    ] = None,
    store: StoreUrl = None,
) -> None:
    """Write a bundle that anybody can check later: hashes, results, pictures, and a checker.

    It holds the clique of each flagged prompt as it was stored, and the training picture that is
    its match. The `verify_bundle.py` in it checks it, and needs Python alone. The sha256 that is
    printed is that of its manifest: note it in another place. With --prompt, pictures of other
    prompts are left out; texts, results and counts of all prompts are not, so that they can be
    checked.

    Example: seedsweep evidence emoji-0123456789ab -o evidence --replays 20

    Example: seedsweep evidence emoji-0123456789ab -o final --labels evidence/labels-ann.csv
    --labels evidence/labels-ben.csv --sign key.pem
    """
    from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
    from seedsweep.audit.evidence.labels import open_labels
    from seedsweep.audit.evidence.signature import open_signer
    from seedsweep.audit.evidence.writer import refuse_taken
    from seedsweep.audit.replay.replay_words import replay_words
    from seedsweep.cli.progress_bars import counted

    # All that may be refused comes before what takes long.
    if output:
        refuse_taken(output)
    given = tuple(open_labels(path) for path in labels or ())
    signer = open_signer(sign) if sign else None
    opened = find_store(store)
    campaign_id = find_campaign(opened, campaign_id)
    if output is None:
        output = Path("seedsweep-evidence") / campaign_id
        refuse_taken(output)
    replayed = _replay(opened, campaign_id, replays, sample_seed) if replays else None
    additions = BundleOptions(replayed, sample_seed, given, signer, tuple(prompt or ()))
    with counted("flagged prompts copied") as progress:
        sealed = write_evidence(opened, campaign_id, output, additions, progress)
    again = replay_words(replayed) if replayed else ()
    for sentence in (sealed.in_words, *again, *sealed.labels_in_words):
        say(sentence)
    check = sealed.folder / "verify_bundle.py"
    say(f"Check it with `python3 {shlex.quote(str(check))}`. Note this hash elsewhere:")
    show(f"{sealed.sha256}  {sealed.folder / 'manifest.json'}")


def label(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A bundle of `evidence`.")],
    reviewer: Annotated[str, typer.Option(metavar="NAME", help="Who looks.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The page's port; 0: a free one.")
    ] = 0,
) -> None:
    """Look at what prompts repeat beside training pictures, on a page on this machine alone.

    It shows one pair for each prompt that has a match: the representative of its largest clique,
    and the training picture. Pairs of parts follow: all but the part is dimmed, and below are more
    pictures that show it. Without prompts, there is also one pair for each distinct training
    picture that generations extract: the best of these, and the training picture. Each answer is
    kept at once in DIR/labels-NAME.csv. You may stop at any time: the same command goes on. The
    order of the pairs, and which picture is on the left, are drawn from the reviewer's name, so
    nobody chooses pairs. The page does not say what the analysis found, nor what another reviewer
    answered.

    Example: seedsweep label evidence --reviewer ann
    """
    from seedsweep.web.reviewer_page import Labelling, LabelServer

    labelling = Labelling(folder, reviewer)
    with LabelServer(labelling, port) as server:
        say(f"Open this page, and end with Ctrl-C: it is {reviewer}'s alone.")
        show(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say(f"{labelling.answered} of {len(labelling.pairs)} are in {labelling.path}.")


def _replay(store: "Store", campaign_id: str, count: int, seed: int) -> "Replays":
    from seedsweep.audit.replay.replay import ReplayOptions, replay_some
    from seedsweep.cli.progress_bars import counted

    with counted("images made again") as progress:
        return replay_some(store, campaign_id, count, seed, ReplayOptions(), progress)
