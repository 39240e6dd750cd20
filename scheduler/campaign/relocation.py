"""Where a campaign's training set lies now, if that is not where it was submitted."""

from pathlib import Path

from seedsweep.storage.campaigns import load_campaign, load_control, store_control
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.path_text import path_text
from seedsweep.storage.records import Control
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.campaign import Campaign
from seedsweep.storage.store import Store
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.slices import PictureColumn


def relocate(store: Store, campaign_id: str, path: Path) -> None:
    """Have the campaign's training set read at another place from now on, whoever reads it.

    Ids, results and verdicts stay: only its content names a training set. Raises `ConfigError` if
    what lies there is another one, or none was submitted.
    """
    wanted = load_campaign(store, campaign_id).campaign.verification
    if wanted is None:
        raise ConfigError(
            f"The campaign {campaign_id} has no [verification], so it has no training set that "
            "could have moved; leave --training-set out."
        )
    place = path_text(path.absolute(), "the training set")
    asked = wanted.model_copy(update={"training_set": place})
    if fingerprint_training_set(Path(place), PictureColumn.of(asked)) != wanted.fingerprint:
        folder = f", and the pictures that it names in {wanted.folder}" if wanted.folder else ""
        raise ConfigError(
            f"{path} is not the training set of {campaign_id}, which was {wanted.training_set}: "
            f"its files or their names are others; name a copy with all of its files{folder}."
        )
    control = load_control(store, campaign_id)
    now = "" if place == wanted.training_set else place
    store_control(store, campaign_id, control.model_copy(update={"training_set": now}))


def relocated(settings: AnalysisSettings, campaign: Campaign, control: Control) -> AnalysisSettings:
    """The campaign's own settings, or others for its training set, with the place where that lies
    now."""
    if settings.verification is None or campaign.verification is None:
        return settings
    place = control.training_set or campaign.verification.training_set
    moved = settings.verification.model_copy(update={"training_set": place})
    return settings.model_copy(update={"verification": moved})
