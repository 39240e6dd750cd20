"""What one Ray actor does: it reads the store itself and calls the pure analysis."""

import time
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from seedsweep.storage import observed_store
from seedsweep.storage.campaigns import load_campaign
from seedsweep.storage.errors import SeedsweepError
from seedsweep.storage.extractions import store_extractions
from seedsweep.storage.observed_store import ObservedStore
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.receipts import Receipt, store_receipt
from seedsweep.storage.records import Submission
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.settings.sampling import PromptSettings
from seedsweep.storage.stores import open_store
from seedsweep.storage.verification_results import Coverage
from seedsweep.workers.analysis.inner_products import Products, TorchProducts, products
from seedsweep.workers.analysts.all_generations import Crew, Judged, analyse_generations
from seedsweep.workers.analysts.cost import Effort, Tally
from seedsweep.workers.analysts.part_masks import store_masks
from seedsweep.workers.analysts.prompt_result import analyse_stored, judge_stored, recorded
from seedsweep.workers.analysts.screen_rules import undecided
from seedsweep.workers.analysts.stage_rules import Standing, standing
from seedsweep.workers.analysts.stored_prompt import StoredPrompt
from seedsweep.workers.training.index import TrainingSet, load_training_set
from seedsweep.workers.training.search_actors import searchers_within


@dataclass(frozen=True, slots=True)
class AnalysisRequest:
    """One prompt of a stored campaign, and how to judge it.

    `receipt`: store a receipt of its images, if all are known and it is not flagged. `stage`: the
    number of the stage whose units are settled, if the campaign has stages, and `index` the
    prompt's place in the plan. `as_is`: what is there of a prompt that goes on is judged too.
    `own`: the settings that the prompt has of its own.
    """

    campaign_id: str
    prompt: str
    settings: AnalysisSettings
    receipt: bool = False
    stage: int = 1
    index: int = 0
    as_is: bool = False
    own: PromptSettings | None = None


@dataclass(frozen=True, slots=True)
class Analysed:
    """What became of a request: a result, the stage to which the prompt goes on, or the error that
    stood in its way.

    `corrupt` names the shards that could not be read, and `missing` the cuts of which nothing is
    stored, by their places in the submission; the result does without their images. `receipted`:
    a receipt of all images is stored, so they need not stay. `training` says what of the training
    set could be read. `effort` is None if the actor was lost.
    """

    request: AnalysisRequest
    seconds: float
    result: PromptResult | None = None
    goes_on_to: int | None = None
    corrupt: tuple[str, ...] = ()
    missing: tuple[int, ...] = ()
    receipted: bool = False
    training: Coverage | None = None
    error: SeedsweepError | None = None
    effort: Effort | None = None

    @property
    def value(self) -> PromptResult:
        """The result; raises the error if there is none."""
        if self.result is None:
            raise self.error or SeedsweepError("The analysis gave no result; try again.")
        return self.result


class AnalysisActor:
    """One actor: one store, the campaigns it was last asked for, one training set at hand."""

    def __init__(self, store_url: str, device: str = "cpu", crew: Crew | None = None) -> None:
        self._requests: list[observed_store.StoreRequest] = []
        self._store = ObservedStore(open_store(store_url), self._requests.append)
        self._device = device
        self._crew = crew or searchers_within
        self._submission = lru_cache(maxsize=8)(self._load_submission)
        self._training = lru_cache(maxsize=1)(self._load_training)

    def analyse(self, request: AnalysisRequest) -> Analysed:
        """Read and analyse one prompt; what is corrupt or missing is left out."""
        began, tally = time.monotonic(), Tally()
        try:
            submission = self._submission(request.campaign_id).of(request.own)
            stands = self._standing(submission, request, tally)
            if stands.waits and not request.as_is:
                raise undecided(request.prompt)
            if stands.stage > request.stage and not request.as_is:
                seconds = time.monotonic() - began
                return Analysed(
                    request, seconds, goes_on_to=stands.stage, effort=self._effort(tally)
                )
            result, stored, receipted, training = self._analyse(request, stands, tally)
        except SeedsweepError as error:
            seconds = time.monotonic() - began
            return Analysed(request, seconds, error=error, effort=self._effort(tally))
        return Analysed(
            request=request,
            seconds=time.monotonic() - began,
            result=result,
            corrupt=stored.corrupt,
            missing=stored.missing,
            receipted=receipted,
            training=training,
            effort=self._effort(tally),
        )

    def _effort(self, tally: Tally) -> Effort:
        effort = tally.effort(self._requests)
        self._requests.clear()
        return effort

    def _standing(self, submission: Submission, request: AnalysisRequest, tally: Tally) -> Standing:
        if not submission.campaign.stages:
            return Standing(1)
        return standing(
            self._store,
            submission,
            request.prompt,
            request.index,
            request.stage,
            self._products,
            tally,
        )

    def _analyse(
        self, request: AnalysisRequest, stands: Standing, tally: Tally
    ) -> tuple[PromptResult, StoredPrompt, bool, Coverage | None]:
        submission = self._submission(request.campaign_id).of(request.own)
        if submission.campaign.is_unconditional:
            return self._analyse_generations(submission, request, tally)
        sampling, settings = submission.campaign.sampling, request.settings
        wanted = settings.verification
        training = self._training(wanted, sampling.width, sampling.height) if wanted else None
        open_units = submission.campaign.stage_ends(submission.cuts)[stands.stage - 1]
        units = max(0, open_units - len(submission.campaign.screens))
        result, stored = analyse_stored(
            self._store,
            submission,
            request.prompt,
            settings,
            training,
            self._products,
            tally,
            units,
        )
        result = result.model_copy(
            update={"drop": stands.drop, "settings": request.own and request.own.made}
        )
        # What a prompt lacks may still be made, and then be compared with all its other pictures.
        if result.parts:
            whose = settings.analysis_id, request.campaign_id
            store_masks(self._store, whose, stored, result, settings.analysis.parts)
        nothing = not result.flagged and not result.parts
        receipted = request.receipt and stored.whole and nothing
        if receipted and recorded(stored, settings) is None:
            receipt = Receipt(stored.images, settings.analysis_id, result)
            store_receipt(self._store, submission.campaign, receipt)
        return result, stored, receipted, training.coverage if training else None

    def _analyse_generations(
        self, submission: Submission, request: AnalysisRequest, tally: Tally
    ) -> tuple[PromptResult, StoredPrompt, bool, Coverage | None]:
        """Judge the generations of a campaign without prompts, and store what they extract."""
        settings = request.settings

        def judge(stored: StoredPrompt) -> Judged:
            return analyse_generations(stored, settings, self._crew)

        judged, stored = judge_stored(self._store, submission, request.prompt, judge, tally, None)
        found = judged.extractions
        if found:
            store_extractions(
                self._store, settings.analysis_id, request.campaign_id, found, judged.ranked
            )
        return judged.result, stored, False, found.coverage if found else None

    @cached_property
    def _products(self) -> Products:
        return products if self._device == "cpu" else TorchProducts(self._device)

    def _load_submission(self, campaign_id: str) -> Submission:
        return load_campaign(self._store, campaign_id)

    @staticmethod
    def _load_training(*wanted: Any) -> TrainingSet:
        return load_training_set(*wanted)
