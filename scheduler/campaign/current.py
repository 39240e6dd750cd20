"""A campaign as it is now: the settings it is judged by, its results, its parked units."""

from seedsweep.scheduler.campaign.relocation import relocated
from seedsweep.storage.campaigns import load_campaign, load_control, load_parked, load_prompts
from seedsweep.storage.pieces import is_made
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import Parked, Submission
from seedsweep.storage.results import results_by
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.store import Store


def settings_now(store: Store, submission: Submission) -> AnalysisSettings:
    """How the user wants the campaign judged: as last asked for, else as submitted."""
    control = load_control(store, submission.campaign.campaign_id)
    campaign = submission.campaign
    return relocated(control.settings or campaign.settings, campaign, control)


def own_settings(store: Store, submission: Submission) -> AnalysisSettings:
    """How the campaign was to be judged when it was submitted."""
    control = load_control(store, submission.campaign.campaign_id)
    return relocated(submission.campaign.settings, submission.campaign, control)


def results_now(store: Store, campaign_id: str) -> list[PromptResult]:
    """The results of the campaign's present analysis, best first."""
    settings = settings_now(store, load_campaign(store, campaign_id))
    return results_by(store, settings, campaign_id)


def parked_now(store: Store, submission: Submission) -> list[Parked]:
    """The campaign's parked units by index, but for those that were made after all, by this
    campaign or another."""
    parked = load_parked(store, submission.campaign.campaign_id)
    settings = load_prompts(store, submission.campaign.campaign_id).settings if parked else ()
    return [unit for unit in parked if not is_made(store, submission, unit, settings)]
