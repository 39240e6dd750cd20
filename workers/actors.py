"""The Ray actors: they read the store themselves and call the pure analysis."""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from storage.errors import SeedsweepError, ShardCorruptError
from storage.records import AnalysisSettings, Prompt, PromptResult, Submission
from storage.store import open_store
from workers.prompt_analysis import StoredPrompt, analyse_prompt, read_prompt
from workers.training_set import TrainingSet, load_training_set

log = logging.getLogger(__name__)

IN_FLIGHT_PER_ACTOR = 2
POLL_SECONDS = 0.2

_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # On every system, not only on those that it is named after: one node, bound to loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


@dataclass(frozen=True, slots=True)
class Analysed:
    """One prompt's result, and the shards of it that could not be read."""

    result: PromptResult
    corrupt: tuple[str, ...]


class Analyst:
    """One actor: one store, one campaign, its training pictures in memory."""

    def __init__(self, store_url: str, submission: str, settings: str) -> None:
        self._store = open_store(store_url)
        self._submission = Submission.model_validate_json(submission)
        self._settings = AnalysisSettings.model_validate_json(settings)

    @cached_property
    def _training(self) -> TrainingSet | None:
        """Read with the first prompt: an error then is that call's, and reaches the caller."""
        wanted, sampling = self._settings.verification, self._submission.campaign.sampling
        return load_training_set(wanted, sampling.width, sampling.height) if wanted else None

    def analyse(self, text: str) -> Analysed:
        """Read and analyse one prompt, without the shards of it that are corrupt."""
        sampling = self._submission.campaign.sampling
        stored = self._read(text, verified=False)
        try:
            result = analyse_prompt(text, stored, sampling, self._settings, self._training)
        except ShardCorruptError:
            stored = self._read(text, verified=True)
            result = analyse_prompt(text, stored, sampling, self._settings, self._training)
        return Analysed(result, stored.corrupt)

    def _read(self, text: str, verified: bool) -> StoredPrompt:
        generation_id = self._submission.campaign.generation_id
        prompt_id = Prompt(text=text).prompt_id
        return read_prompt(self._store, generation_id, prompt_id, self._submission.cuts, verified)


def analyse(
    submission: Submission,
    settings: AnalysisSettings,
    prompts: Iterable[str | None],
    store_url: str,
    actors: int,
) -> Iterator[Analysed | None]:
    """Analyse prompts on `actors` local Ray actors and yield each as it is finished.

    Never more than `IN_FLIGHT_PER_ACTOR` prompts an actor are under way. A None among the prompts
    says that none is ready just now; the caller gets a None back whenever it may look again.
    Raises `TrainingSetError` where the training set cannot be read.
    """
    os.environ.update(_RAY_ENVIRONMENT)
    import ray

    ray.init(
        num_cpus=actors,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 1024 * 1024,
        runtime_env={"env_vars": {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}},
    )
    try:
        kind = ray.remote(num_cpus=1, max_restarts=3, max_task_retries=3)(Analyst)
        records = submission.model_dump_json(), settings.model_dump_json()
        crew = [kind.remote(store_url, *records) for _ in range(actors)]
        yield from _spread(ray, crew, iter(prompts))
    finally:
        ray.shutdown()


def _spread(ray: Any, crew: list[Any], prompts: Iterator[str | None]) -> Iterator[Analysed | None]:
    under_way: dict[Any, Any] = {}
    idle = [actor for actor in crew for _ in range(IN_FLIGHT_PER_ACTOR)]
    exhausted = False
    while under_way or not exhausted:
        while idle and not exhausted:
            try:
                text = next(prompts)
            except StopIteration:
                exhausted = True
                break
            if text is None:
                break
            actor = idle.pop(0)
            under_way[actor.analyse.remote(text)] = actor
        finished = _await_some(ray, list(under_way))
        for reference in finished:
            idle.append(under_way.pop(reference))
            yield _fetch(ray, reference)
        if not finished:
            yield None


def _await_some(ray: Any, under_way: list[Any]) -> list[Any]:
    if not under_way:
        time.sleep(POLL_SECONDS)
        return []
    finished: list[Any] = ray.wait(under_way, timeout=POLL_SECONDS)[0]
    return finished


def _fetch(ray: Any, reference: Any) -> Analysed:
    try:
        analysed: Analysed = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, SeedsweepError) else error from error
    return analysed
