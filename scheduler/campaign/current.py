"""What holds of a campaign now: the settings it is judged by, and its results."""

from seedsweep.storage.campaigns import load_campaign, load_control
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.records import AnalysisSettings, Submission
from seedsweep.storage.results import read_results
from seedsweep.storage.store import Store


def settings_now(store: Store, submission: Submission) -> AnalysisSettings:
    """How the user wants the campaign judged: as last asked for, else as submitted."""
    control = load_control(store, submission.campaign.campaign_id)
    return control.settings or submission.campaign.settings


def results_now(store: Store, campaign_id: str) -> list[PromptResult]:
    """The results of the campaign's present analysis, best first."""
    settings = settings_now(store, load_campaign(store, campaign_id))
    return read_results(store, settings.analysis_id, campaign_id)
