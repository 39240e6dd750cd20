"""A campaign and what there can be found of it, as reports show it."""

from seedsweep.audit.findings.calibration import CalibrationOptions, calibrate
from seedsweep.audit.findings.comparison import compare_campaigns
from seedsweep.audit.findings.control_prompts import Marks, Positive
from seedsweep.audit.findings.duplication import measure_duplication
from seedsweep.audit.findings.marked_scores import MarkedScores
from seedsweep.scheduler.campaign.current import settings_now
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.verification_results import (
    ControlMatches,
    Coverage,
    Unreadable,
    VerificationResult,
)
from seedsweep.workers.analysis.flag_threshold import Critical
from seedsweep.workers.analysts.prompt_score import PromptScore
from tests.support.arms import SEEDS, submit

EVIL = '<script>alert("x")</script> [red]&'
SIZES = {"a": 5, "b": 4, EVIL: 8, "d": 0, "e": 0}
AFTER = {"a": 5, "b": 0, EVIL: 0, "d": 3, "e": 0}
CONTROLS = tuple(f"control {number}" for number in range(20))
POSITIVES = tuple(Positive(f"positive {number}", f"{number // 2}") for number in range(10))


def make_arms(store):
    """Two campaigns over the same prompts; of the first three prompts are flagged."""
    before = submit(store, "before", SIZES, {"a": "1.png", EVIL: "2.png"})
    return before, submit(store, "after", AFTER, {"a": "1.png"})


def make_calibration(store, campaign_id, controls=CONTROLS, sizes=(2, 4)):
    """Controls that are alike from 0.2 on, positives from 0.05 on, and one that never is."""
    steps = {prompt: 200 + 10 * place % 700 for place, prompt in enumerate(controls)}
    steps |= {positive.prompt: 50 + 5 * place for place, positive in enumerate(POSITIVES)}
    steps[POSITIVES[-1].prompt] = None
    scores = {
        prompt: PromptScore(
            prompt,
            True,
            SEEDS,
            tuple(Critical(size, step, (0, 1), True) for size in sizes),
            (None,) * len(sizes),
        )
        for prompt, step in steps.items()
    }
    submission = load_campaign(store, campaign_id)
    settings = settings_now(store, submission)
    marks = Marks(controls, POSITIVES)
    warnings = ("<i>2</i> prompts lack images and were left out.",)
    scored = MarkedScores(submission, settings, sizes, marks, scores, warnings)
    return calibrate(scored, marks, CalibrationOptions(0.2, 0.0003, sizes))


def make_comparison(store, a, b):
    return compare_campaigns(store, a, b)


def make_duplication(store, campaign_id, folder, sample=3):
    path = folder / "<u>copies.csv"
    path.write_text("prompt,copies\na,9\nb,2\nd,1\ne,0\n")
    return measure_duplication(store, campaign_id, path, sample=sample)


def make_search(store, campaign_id, at="2026-01-01T00:00:00+00:00", **changes):
    """What `verify` stores: one picture of two names, one picture that cannot be read."""
    examples = (Unreadable(name="<s>bad.png", reason="it is empty"),)
    usual = {
        "campaign_id": campaign_id,
        "analysis_id": load_campaign(store, campaign_id).campaign.analysis_id,
        "settings": Verification(training_set="/t"),
        "verified_at": at,
        "versions": "v",
        "coverage": Coverage(path="/t", listing="1", pictures=30, unreadable=1, examples=examples),
        "cliques": (),
        "not_verified": (),
        "groups": (("a.png", "b.png"),),
        "controls": ControlMatches(
            coverage=Coverage(path="/c", listing="2", pictures=40, unreadable=0),
            whole=True,
            searched=40,
            matches=0,
        ),
    }
    return VerificationResult(**usual | changes)
