"""What a bundle's manifest says of the campaign, and when the thresholds were fixed."""

from seedsweep.audit.evidence import verify_bundle
from seedsweep.audit.evidence.readme import ReadmeContents
from seedsweep.audit.evidence.versions import versions
from seedsweep.storage.records import Control, Submission
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.campaign import FORMAT


def manifest_of(
    submission: Submission,
    control: Control,
    settings: AnalysisSettings,
    contents: ReadmeContents,
    cut_down_to: tuple[str, ...] | None,
) -> dict[str, object]:
    """The manifest without the files; `cut_down_to`: the prompts whose pictures it holds alone."""
    campaign = submission.campaign
    fixed_at, _ = when_fixed(submission, control, settings)
    training = settings.verification
    manifest = {
        "format": verify_bundle.FORMAT,
        "campaign_id": contents.campaign_id,
        "generation_id": campaign.generation_id,
        "analysis_id": settings.analysis_id,
        "algorithm": settings.algorithm,
        "pixel_format": FORMAT,
        "settings": settings,
        "thresholds": {
            "edge": settings.analysis.edge_threshold,
            "clique_size": settings.analysis.min_clique_size,
            "l2": training.threshold if training else None,
            "fixed_at": fixed_at,
        },
        "model": campaign.model,
        "prompts_digest": campaign.prompts.digest if campaign.prompts else None,
        "training_set": training.fingerprint if training else None,
        "submitted_at": submission.submitted_at,
        "submitted_by": submission.versions,
        "written_by": versions(),
        "denominators": contents.denominators,
        "missing": contents.missing,
    }
    return manifest | ({"cut_down_to": cut_down_to} if cut_down_to else {})


def when_fixed(
    submission: Submission, control: Control, settings: AnalysisSettings
) -> tuple[str | None, str]:
    """When the thresholds were fixed, None if that is not recorded, and the same in words."""
    at = submission.submitted_at
    if settings.analysis_id == submission.campaign.analysis_id:
        return at, (
            f"They are part of the campaign as it was submitted, at {at}. Images may be older: "
            "campaigns with the same recipe share them."
        )
    when = f"at {control.settings_at}" if control.settings_at else "at a time that is not recorded"
    return control.settings_at or None, (
        f"They were changed {when}, after the submission at {at}, when results could be seen. The "
        "thresholds as submitted are in campaign.json."
    )
