"""What the store holds of a prompt that is not flagged, with keep = "all" and with "flagged".

    .venv/bin/python -m benchmarks.keep [SEEDS]

Photographs (`benchmarks.pictures`) stand for the generations of a prompt, in units of 50. They are
stored as a worker stores them, analysed, and dropped as an analyst drops them; nothing is timed.
Bytes and objects are those of shards and receipts in a folder store, and repeat exactly.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.pictures import photographs
from seedsweep.scheduler.campaign.plan import Plan, cut_seeds
from seedsweep.scheduler.campaign.retention import Retention
from seedsweep.storage import keys
from seedsweep.storage.campaigns import store_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.records import Provenance, Submission
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import PromptList, Sampling
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.pipelines.protocol import Generation

SIZES = (512, 64)
IMAGES_PER_UNIT = 50
MADE = Provenance(
    batch_size=16, threads=1, device="cpu", dtype="float32", versions="a benchmark", recipe="{}"
)


def store_prompt(store, size, seeds):
    """Store one prompt's photographs; returns its plan."""
    sampling = Sampling(seeds=seeds, width=size, height=size, images_per_unit=IMAGES_PER_UNIT)
    campaign = Campaign(
        name="keep",
        keep="flagged",
        model=Model(pipeline="noise", fingerprint="noise:"),
        prompts=PromptList(file="-", count=1),
        sampling=sampling,
    )
    cuts = cut_seeds(campaign.seeds, IMAGES_PER_UNIT, {})
    plan = Plan(campaign, ["photographs"], cuts)
    submission = Submission(campaign=campaign, cuts=cuts, submitted_at="", versions="")
    store_campaign(store, submission, list(plan.prompts))
    pictures = photographs(seeds, size)
    for index, cut in enumerate(cuts):
        made = [Generation(s, pictures[s], None, MADE) for s in range(cut.first, cut.last + 1)]
        unit = plan.unit(index)
        store.create(keys.unit_shard(unit), encode_unit(unit, made))
    return plan


def held(store, plan):
    """Objects and bytes of the shards and receipts."""
    prefixes = ("shards/", keys.receipts_prefix(plan.campaign.campaign_id))
    found = [key for prefix in prefixes for key in store.list(prefix)]
    return len(found), sum((store.root / key).stat().st_size for key in found)


def measure(folder, size, seeds):
    """Objects and bytes before and after."""
    store = FolderStore(folder)
    plan = store_prompt(store, size, seeds)
    before = held(store, plan)
    campaign = plan.campaign
    request = AnalysisRequest(
        campaign.campaign_id, plan.prompts[0], campaign.settings, receipt=True
    )
    analysed = AnalysisActor(store.url).analyse(request)
    assert analysed.receipted, "the photographs were flagged"
    Retention(store).drop(campaign, plan.cuts, [analysed.value.prompt_id])
    return before, held(store, plan)


def main(seeds=500):
    print(machine("pyarrow", "opencv-python-headless"), end="\n\n")
    print(f"| one prompt of {seeds} | all: objects | MB | flagged: objects | MB | all ÷ flagged |")
    print("|---|---|---|---|---|---|")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            (many, large), (few, small) = measure(Path(folder), size, seeds)
        print(
            f"| {size} px | {many} | {large / 1e6:.2f} | {few} | {small / 1e6:.2f} "
            f"| **{large / small:.1f}** |",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
