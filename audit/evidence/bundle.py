"""A campaign's results → a bundle that stands up later, and can be checked without seedsweep."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from seedsweep.audit.evidence.denominators import all_generations_counted, denominators
from seedsweep.audit.evidence.extraction_files import add_extractions
from seedsweep.audit.evidence.findings_page import PAGE, findings_page, findings_words
from seedsweep.audit.evidence.labels import Labels, agreement
from seedsweep.audit.evidence.manifest import manifest_of, when_fixed
from seedsweep.audit.evidence.part_files import PartFiles, add_parts
from seedsweep.audit.evidence.pictures import PictureFiles
from seedsweep.audit.evidence.readme import ReadmeContents, readme
from seedsweep.audit.evidence.signature import Signer
from seedsweep.audit.evidence.verify_bundle import EXTRACTIONS_LOST
from seedsweep.audit.evidence.writer import Bundle, Sealed, new_bundle
from seedsweep.audit.findings.counts import Counts, count_results
from seedsweep.audit.findings.limitations import limit_words
from seedsweep.audit.findings.missed import stage_words
from seedsweep.audit.findings.present import extractions_of
from seedsweep.audit.findings.same_prompts import first_ones
from seedsweep.audit.findings.shared_parts import with_second_models
from seedsweep.audit.findings.verification_summary import summary
from seedsweep.audit.replay.replay import Replays
from seedsweep.audit.replay.replay_words import replay_words
from seedsweep.scheduler.campaign.current import parked_now, settings_now
from seedsweep.scheduler.quantities import count_words
from seedsweep.storage import keys
from seedsweep.storage.campaigns import (
    load_campaign,
    load_control,
    load_prompts,
    load_verifications,
)
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.extractions import Extractions
from seedsweep.storage.prompt_results import PromptResult
from seedsweep.storage.results import results_by
from seedsweep.storage.settings.analysis import AnalysisSettings
from seedsweep.storage.store import Store
from seedsweep.storage.verification_results import VerificationResult

Progress = Callable[[int, int], None]

OF_CLIQUES = "The pictures that repeat, the cliques', were searched for on their own as well:"
EXTRACTED = "Extracted training pictures, and the best generation of each"
EXTRACTION_LIMITS = (
    "Every generation that was compared is in generations.json, with the digest of its pixels; the "
    "bundle holds the picture of the best one of each distinct training picture, and that one. The "
    "checker computes the distances of these pairs again. It does not compute which training "
    "pictures are near-copies of each other, and so one, nor that no other one is nearer."
)


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """What a bundle has beside what the store holds; `sample_seed` is what `replays` were drawn
    with. `prompts`: texts or ids of those whose pictures it holds alone, all if there are none."""

    replays: Replays | None = None
    sample_seed: int = 0
    labels: tuple[Labels, ...] = ()
    signer: Signer | None = None
    prompts: tuple[str, ...] = ()


def write_evidence(
    store: Store, campaign_id: str, folder: Path, options: BundleOptions, progress: Progress
) -> Sealed:
    """Write the bundle of a campaign's present analysis to `folder`, whole or not at all.

    Equal stores, training sets and options give equal bytes on one machine: no time of writing is
    in it. Pictures that cannot be read any more are named in the manifest and stop nothing.
    `progress(done, total)` counts flagged prompts. Raises `ConfigError` for an unknown campaign, a
    folder that holds something or cannot be written, labels of other prompts, or a prompt that
    repeats nothing,
    `ShardCorruptError` if the campaign or its results are not what was written, and
    `StoreUnavailableError` if the store fails.
    """
    submission = load_campaign(store, campaign_id)
    settings, control = settings_now(store, submission), load_control(store, campaign_id)
    results = results_by(store, settings, campaign_id)
    shown = _chosen(results, options.prompts, campaign_id)
    with new_bundle(folder) as bundle:
        stored = load_prompts(store, campaign_id)
        prompts = [*stored]
        first = first_ones(submission, prompts)
        parked = parked_now(store, submission)
        bundle.add("campaign.json", store.read(keys.campaign(campaign_id)) or b"")
        bundle.add_json("prompts.json", prompts)
        if stored.settings:
            bundle.add_json("settings.json", [own.given for own in stored.settings])
        bundle.add_json("results.json", results)
        bundle.add_json("parked.json", parked)
        pictures = PictureFiles(store, submission, bundle)
        missing = _add_pictures(pictures, settings, shown, progress)
        searches = _searches(store, campaign_id, settings.analysis_id)
        search = _add_verifications(searches, results, first, bundle)
        parts = PartFiles()
        if settings.analysis.partial:
            newest = searches[0] if searches else None
            parts = add_parts(store, submission, shown, settings.analysis.parts, newest, bundle)
        found, extracted = extractions_of(store, submission.campaign, settings, results), None
        if found:
            extracted = add_extractions(store, submission, settings, found, bundle)
            of_cliques = (OF_CLIQUES, *search) if search else ()
            search = (extracted.in_words, *of_cliques)
            if extracted.missing:
                missing += (f"{EXTRACTED}: {extracted.missing}; extractions.json says why.",)
        elif submission.campaign.is_unconditional and settings.verification and results:
            missing += (EXTRACTIONS_LOST,)
        if parts.missing:
            missing += (f"Pictures of parts: {parts.missing}; parts.json says why.",)
        labelled = {
            **pictures.shown(results),
            **parts.shown,
            **(extracted.shown if extracted else {}),
        }
        people_said = _add_additions(bundle, options, results, labelled, searches, found)
        cut_down_to = tuple(r.prompt_id for r in shown) if options.prompts else None
        if cut_down_to:
            missing += (_cut_words(results, cut_down_to),)
        seeds, size = submission.campaign.sampling.seeds, settings.analysis.min_clique_size
        counts = count_results(results, len(prompts), seeds, size, first)
        findings = pictures.findings(shown)
        also = (extracted.in_words,) if extracted else ()
        pairs = extracted.extracted if extracted else ()
        title = f"Evidence of the audit {campaign_id}"
        bundle.add(PAGE, findings_page(title, findings, also, pairs))
        contents = ReadmeContents(
            campaign_id=campaign_id,
            analysis_id=settings.analysis_id,
            findings=findings_words(findings, also, pairs),
            replays=replay_words(options.replays) if options.replays else (),
            files=bundle.names,
            thresholds_fixed=when_fixed(submission, control, settings)[1],
            denominators=all_generations_counted(results, submission, parked, found)
            if submission.campaign.is_unconditional
            else denominators(
                counts, submission, parked, examined=settings.verification is not None
            ),
            missing=missing,
            people_said=people_said,
            search=search,
            limits=(
                *limit_words(settings, seeds, submission.campaign.is_unconditional),
                *stage_words(submission.campaign, results, first),
                *_same_words(counts),
                *((EXTRACTION_LIMITS,) if found else ()),
            ),
            signed=options.signer is not None,
        )
        bundle.add("README.txt", readme(contents).encode())
        bundle.add(
            "verify_bundle.py",
            files("seedsweep.audit.evidence").joinpath("verify_bundle.py").read_bytes(),
        )
        manifest = manifest_of(submission, control, settings, contents, cut_down_to)
        sha256 = bundle.seal(manifest, options.signer)
        held = sum(name.endswith(".png") for name in bundle.names)
    alone = submission.campaign.is_unconditional
    told = [_in_words(settings, () if alone else results, held), *also]
    return Sealed(folder, sha256, " ".join(told), people_said)


def _chosen(
    results: Sequence[PromptResult], prompts: Sequence[str], campaign_id: str
) -> list[PromptResult]:
    """The results whose pictures the bundle holds: those of these prompts, in order, or all."""
    if not prompts:
        return [*results]
    chosen = set()
    for prompt in prompts:
        named = [r for r in results if prompt.strip() in (r.prompt, r.prompt_id)]
        if not any(result.flagged or result.parts for result in named):
            raise ConfigError(
                f"{prompt[:80]!r} is no prompt that repeats a picture in {campaign_id}; give the "
                "text or the prompt_id of one that does, as `seedsweep results --json` shows it."
            )
        chosen |= {result.prompt_id for result in named}
    return [result for result in results if result.prompt_id in chosen]


def _cut_words(results: Sequence[PromptResult], shown: Sequence[str]) -> str:
    repeat = sum(bool(result.flagged or result.parts) for result in results)
    return (
        f"Pictures of other prompts that repeat one ({repeat - len(shown)}): the bundle is cut "
        f"down to those of {len(shown)} ({', '.join(shown)}). Texts, results and counts of all "
        "prompts are in it."
    )


def _in_words(settings: AnalysisSettings, results: Sequence[PromptResult], pictures: int) -> str:
    analysis = settings.analysis
    flagged = sum(result.flagged for result in results)
    judged = f"{count_words(len(results), 'result')}, {flagged:,} of them flagged, and "
    return (
        f"The bundle is of analysis {settings.analysis_id}: edge threshold "
        f"{analysis.edge_threshold:g}, cliques of {analysis.min_clique_size} or more. It holds "
        f"{judged if results else ''}{count_words(pictures, 'picture')}."
    )


def _add_pictures(
    pictures: PictureFiles,
    settings: AnalysisSettings,
    results: Sequence[PromptResult],
    progress: Progress,
) -> tuple[str, ...]:
    """Add all pictures; returns in sentences what is missing."""
    flagged = [result for result in results if result.flagged]
    for done, result in enumerate(flagged, 1):
        pictures.add_prompt(result)
        progress(done, len(flagged))
    pictures.seal()
    training = pictures.add_training(settings, flagged)
    sentences = []
    if pictures.missing:
        sentences.append(f"Images of cliques: {pictures.missing}; images.json says why.")
    if training:
        sentences.append(f"Training pictures: {training}; training.json says why.")
    return tuple(sentences)


def _add_additions(
    bundle: Bundle,
    options: BundleOptions,
    results: Sequence[PromptResult],
    shown: dict[str, tuple[str, str]],
    searches: Sequence[VerificationResult],
    found: Extractions | None,
) -> tuple[str, ...]:
    """Add what the store does not hold; returns in sentences what people said."""
    replayed = options.replays
    if replayed:
        replays = {
            "sample_seed": options.sample_seed,
            "images": len(replayed.replays),
            "equal": replayed.equal,
            "explained": len(replayed.explained),
            "unexplained": len(replayed.unexplained),
            "not_made": replayed.not_made,
            "parked": replayed.parked,
            "replays": replayed.replays,
        }
        bundle.add_json("replays.json", replays)
    if not options.labels:
        return ()
    agreed = agreement(options.labels, results, shown, searches, found)
    bundle.add_json("labels.json", agreed)
    for labels in options.labels:
        bundle.add(f"labels/{labels.reviewer}.csv", labels.csv)
    return agreed.in_words


def _searches(store: Store, campaign_id: str, analysis_id: str) -> list[VerificationResult]:
    """The searches for this analysis, the newest first, with what second models show."""
    stored = load_verifications(store, campaign_id)
    ours = [search for search in stored if search.analysis_id == analysis_id]
    return [with_second_models(store, search) for search in ours]


def _add_verifications(
    searches: Sequence[VerificationResult],
    results: Sequence[PromptResult],
    first: Mapping[str, str],
    bundle: Bundle,
) -> tuple[str, ...]:
    """Add what searches found; returns in sentences what the newest one did, and whether results
    changed after it. `first`: as of `first_ones`."""
    if not searches:
        return ()
    bundle.add_json("verifications.json", searches)
    return (*summary(searches[0], first=first), *_changed_since(searches[0], results))


def _same_words(counts: Counts) -> tuple[str, ...]:
    """That the bundle's counts, which its checker counts again, have each prompt for itself."""
    if not counts.rated.same:
        return ()
    are = "is" if counts.rated.same == 1 else "are"
    return (
        f"{counts.rated.same:,} of {counts.with_evidence:,} prompts with evidence {are} the same "
        "to the model as another one of them, with the same pictures; what was counted has each.",
    )


def _changed_since(search: VerificationResult, results: Sequence[PromptResult]) -> Iterator[str]:
    looked_for = {(clique.prompt_id, clique.seed) for clique in search.cliques}
    looked_for |= {(clique.prompt_id, clique.seed) for clique in search.not_verified}
    present = {(r.prompt_id, c.representative_seed) for r in results for c in r.cliques}
    if looked_for != present:
        yield (
            f"Results changed after that search: {len(present - looked_for)} of {len(present)} "
            f"pictures that represent a clique now were not looked for, and "
            f"{len(looked_for - present)} of {len(looked_for)} that were represent none any more; "
            f"run `seedsweep verify {search.campaign_id}` again."
        )
