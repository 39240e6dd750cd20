"""A small audit of a model without prompts, with a training set."""

import contextlib

import numpy as np
from PIL import Image

from seedsweep.scheduler.campaign.submission import plan_campaign, submit_campaign
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.settings.analysis import Analysis, Verification
from seedsweep.workers.analysts.actor import AnalysisActor, AnalysisRequest
from seedsweep.workers.pipelines.noise import NoisePipeline
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.slices import USUAL
from tests.support.campaigns import make_campaign, make_images
from tests.support.searchers import Here


@contextlib.contextmanager
def here():
    yield Here()


NO_CLIQUE, ONE_CLIQUE = Analysis(min_clique_size=5), Analysis(edge_threshold=1.0, min_clique_size=5)


def audit_seeds(training, store, analysis=NO_CLIQUE, strangers=9, mirrored=False):
    """A store in an empty folder with an audited campaign whose seed 1 is a training picture among
    strangers, and its submission: the pictures of its seeds 0 to 5 differ. With no strangers it
    has no training set. `mirrored`: that picture is, and is looked for so too."""
    campaign = make_campaign(seeds=6, guidance_scale=1.0, analysis=analysis)
    [one] = NoisePipeline(campaign.sampling).generate("", [1])
    known = Image.fromarray(one.pixels[:, ::-1] if mirrored else one.pixels)
    known.save(training / "known.png")
    random = np.random.default_rng(0)
    for number in range(strangers):
        noise = random.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(training / f"n{number}.png")
    verification = Verification(
        training_set=str(training),
        neighbours=3,
        flip=mirrored,
        fingerprint=fingerprint_training_set(training, USUAL),
    )
    searched = {"verification": verification} if strangers else {}
    campaign = campaign.model_copy(update={"prompts": None, **searched})
    opened = FolderStore(store)
    submission = submit_campaign(opened, plan := plan_campaign(opened, campaign, [""], []))
    make_images(opened, plan)
    request = AnalysisRequest(campaign.campaign_id, "", campaign.settings)
    result = AnalysisActor(opened.url, crew=here).analyse(request).value
    store_results(opened, campaign.analysis_id, campaign.campaign_id, [result])
    return opened, submission
