"""The report: one file that needs nothing else, and says what it cannot show."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from seedsweep.audit.findings.people import Reviewer
from seedsweep.audit.findings.present import gather_found
from seedsweep.audit.report.contents import gather_report
from seedsweep.audit.report.histogram import bin_distances
from seedsweep.audit.report.html import templates
from seedsweep.audit.report.prompt_section import PICTURES_SHOWN, data_uri
from seedsweep.audit.report.report import render_report, write_report
from seedsweep.storage import keys
from seedsweep.storage.campaigns import (
    store_campaign,
    store_control,
    store_parked,
    store_verification,
)
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.prompt_results import Match, PromptResult, Transform
from seedsweep.storage.record import SeedRange
from seedsweep.storage.records import (
    Control,
    Flaw,
    Parked,
    Prompt,
    Provenance,
    Submission,
    WorkUnit,
)
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import drop_results
from seedsweep.storage.settings.analysis import Analysis, Verification
from seedsweep.storage.settings.sampling import DEFAULT_BLOCKS
from seedsweep.storage.shards import StoredImage, decode_shard, encode_shard
from seedsweep.storage.verification_results import VerifiedClique
from seedsweep.workers.analysis.matching import is_extracted, nearest_training
from seedsweep.workers.analysis.nearest import describe_training
from seedsweep.workers.analysis.verdict import judge
from seedsweep.workers.analysts.prompt_result import result_of
from seedsweep.workers.images import digest_pixels, encode_png
from tests.support.campaigns import make_campaign, make_submission, noise_model
from tests.support.findings import make_search
from tests.support.pictures import black_png

SIDE, SEEDS, THRESHOLD = 16, 50, 0.1
MEMORISED = '<script>alert("x")</script> & a fox at http://example.com/'
CUTS = (SeedRange(first=0, last=29), SeedRange(first=30, last=49))
PROVENANCE = Provenance(
    batch_size=4,
    threads=1,
    device="test device",
    dtype="float32",
    versions="torch 9.9",
    recipe="{}",
)

Pixels = NDArray[np.uint8]


class Lab:
    """A small campaign in a folder: one memorised prompt of several, and its training set."""

    def __init__(self, root: Path) -> None:
        self.rng = np.random.default_rng(7)
        self.folder = root
        self.store = FolderStore(root / "store")
        self.training_folder = root / "training"
        self.training_folder.mkdir()
        self.training = np.stack([self.picture() for _ in range(6)])
        for place, pixels in enumerate(self.training):
            Image.fromarray(pixels).save(self.training_folder / f"{place}.png")
        self.prompts = [MEMORISED, "a plain prompt", "never analysed"]

    def picture(self) -> Pixels:
        return self.rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

    def submit(self, verify: bool = True) -> Submission:
        training = str(self.training_folder)
        verification = Verification(training_set=training, neighbours=3) if verify else None
        campaign = make_campaign(
            "lab",
            prompts=len(self.prompts),
            model=noise_model("lab"),
            analysis=Analysis(tiles=2, edge_threshold=THRESHOLD, min_clique_size=10),
            verification=verification,
            seeds=SEEDS,
            images_per_unit=30,
        )
        submission = make_submission(campaign, CUTS, "2025-11-24T04:46:00+00:00")
        self.submission = store_campaign(self.store, submission, self.prompts)
        self.campaign_id = campaign.campaign_id
        return self.submission

    def images(self, copied: int, others: int = 0) -> list[Pixels]:
        """`SEEDS` pictures, of which `copied`, every other one, almost repeat a training one, and
        `others` of those between another."""
        pictures = [self.picture() for _ in range(SEEDS)]
        repeated = dict.fromkeys(range(0, 2 * copied, 2), 3) | dict.fromkeys(
            range(1, 2 * others, 2), 1
        )
        for seed, place in repeated.items():
            noise = self.rng.integers(-5, 6, (SIDE, SIDE, 3))
            pictures[seed] = np.clip(self.training[place] + noise, 0, 255).astype(np.uint8)
        return pictures

    def render(self, prompt: str, pictures: list[Pixels], flawed: frozenset[int]) -> None:
        """Store the prompt's shards."""
        for cut in CUTS:
            unit = WorkUnit(
                campaign_id=self.campaign_id,
                generation_id=self.submission.campaign.generation_id,
                index=0,
                prompt=prompt,
                seeds=cut,
            )
            images = [
                StoredImage(
                    seed=seed,
                    png=encode_png(pictures[seed]),
                    descriptor=b"",
                    blocks=DEFAULT_BLOCKS,
                    sha256=digest_pixels(pictures[seed]),
                    flaw=Flaw.CONSTANT if seed in flawed else None,
                    provenance=PROVENANCE,
                )
                for seed in range(cut.first, cut.last + 1)
            ]
            self.store.create(keys.unit_shard(unit), encode_shard(unit, images))

    def judge(self, prompt: str, pictures: list[Pixels], flawed: frozenset[int]) -> PromptResult:
        """The result that the analysis would store."""
        campaign = self.submission.campaign
        seeds = [seed for seed in range(SEEDS) if seed not in flawed]
        settings = campaign.analysis
        verdict = judge(
            np.stack([pictures[seed] for seed in seeds]),
            seeds,
            settings.tiles,
            settings.edge_threshold,
            settings.min_clique_size,
        )
        matches: list[Match | None] = [None] * len(verdict.cliques)
        if campaign.verification:
            matches = [self.match(pictures[c.representative_seed]) for c in verdict.cliques]
        return result_of(prompt, range(SEEDS), len(flawed), verdict, matches)

    def match(self, chosen: Pixels) -> Match:
        campaign = self.submission.campaign
        training = describe_training(self.training)
        found = nearest_training(chosen, training, campaign.analysis.tiles, campaign.verification)
        threshold = campaign.verification.threshold
        return Match(
            training_id=f"{found.index}.png",
            l2=found.l2,
            tiled_l2=found.tiled_l2,
            adaptive=found.adaptive,
            extracted=is_extracted(found, threshold, SIDE),
            agreement=found.agreement,
            distinct=True,
        )

    def analyse(self) -> list[PromptResult]:
        """Render and judge every prompt but the last; only the first is memorised."""
        results = []
        for prompt in self.prompts[:-1]:
            pictures = self.images(20 if prompt == MEMORISED else 0)
            flawed = frozenset({1, 3}) if prompt == MEMORISED else frozenset[int]()
            self.render(prompt, pictures, flawed)
            results.append(self.judge(prompt, pictures, flawed))
        self.store_results(results)
        return results

    def store_results(self, results: list[PromptResult], analysis_id: str | None = None) -> None:
        own = self.submission.campaign.analysis_id
        store_results(self.store, analysis_id or own, self.campaign_id, results)

    def html(self, analysis_id: str | None = None) -> str:
        path = write_report(self.store, self.campaign_id, analysis_id, self.folder / "report")
        return path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every opening tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def words(html: str) -> str:
    """The text that a reader sees."""
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", text)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.submit()
    return lab


def test_the_file_needs_nothing_beside_itself(lab: Lab) -> None:
    lab.analyse()
    tags = Tags(lab.html()).found
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in tags}
    targets = [attrs[name] or "" for _, attrs in tags for name in ("src", "href") if name in attrs]
    assert targets
    assert all(target.startswith(("data:image/", "#")) for target in targets)
    assert "url(" not in lab.html()
    assert "@import" not in lab.html()


def test_every_link_leads_to_a_section_and_every_id_is_used_once(lab: Lab) -> None:
    lab.analyse()
    tags = Tags(lab.html()).found
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] or "" for tag, attrs in tags if tag == "a"]
    assert links == ["#prompt-1"]
    assert {link[1:] for link in links} <= set(ids)


def test_prompts_are_text_whatever_they_hold(lab: Lab) -> None:
    lab.analyse()
    html = lab.html()
    assert "<script>" not in html
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; a fox" in html


def test_a_flagged_prompt_shows_its_clique_and_its_match(lab: Lab) -> None:
    flagged, _ = lab.analyse()
    assert flagged.clique_size == 20
    assert flagged.match
    assert flagged.match.training_id == "3.png"
    html = lab.html()
    alts = [attrs["alt"] or "" for tag, attrs in Tags(html).found if tag == "img"]
    assert sum(alt.startswith("Generation, seed") for alt in alts) == PICTURES_SHOWN - 1
    assert f"Representative of the clique, seed {flagged.representative_seed}" in alts
    assert "Training picture 3.png" in alts
    assert data_uri(lab.training[3], 512) in html
    text = words(html)
    assert "20 of 50 seeds (40 %; proven the largest)" in text
    assert "The rest of the clique: 15 of 19 pictures" in text
    assert f"{flagged.match.l2:.4f}" in text
    assert "Extracted yes" in text


def test_every_picture_that_a_prompt_repeats_is_shown_with_its_match(lab: Lab) -> None:
    pictures = lab.images(20, others=11)
    lab.render(MEMORISED, pictures, frozenset())
    result = lab.judge(MEMORISED, pictures, frozenset())
    lab.store_results([result])
    [clique] = result.further_cliques
    assert clique.clique_seeds == tuple(range(1, 23, 2))
    html = lab.html()
    alts = [attrs["alt"] or "" for tag, attrs in Tags(html).found if tag == "img"]
    assert f"Representative of a further clique, seed {clique.representative_seed}" in alts
    assert {"Training picture 1.png", "Training picture 3.png"} < set(alts)
    assert (
        "Another picture that the prompt repeats: a clique of 11, 22 % of the seeds extracted"
        in (words(html))
    )
    assert "extracted 2 pictures" in words(html)
    counts = gather_report(lab.store, lab.campaign_id, None).counts
    assert (counts.flagged, counts.extracted, counts.training_pictures) == (1, 1, 2)


def test_a_training_picture_that_is_nearer_mirrored_is_shown_mirrored(lab: Lab) -> None:
    flagged, _ = lab.analyse()
    assert flagged.match
    Image.fromarray(lab.training[3][:, ::-1]).save(lab.training_folder / "3.png")
    flip = Transform(width=SIDE, height=SIDE, resize="none", crop="none", flip=True)
    match = flagged.match.model_copy(update={"transform": flip})
    drop_results(lab.store, lab.campaign_id, {flagged.prompt_id})
    lab.store_results([flagged.model_copy(update={"match": match})])
    assert data_uri(lab.training[3], 512) in lab.html()


def test_the_shown_pictures_are_the_cliques(lab: Lab) -> None:
    flagged, _ = lab.analyse()
    report = gather_report(lab.store, lab.campaign_id, None)
    section = report.flagged[0].section
    assert section
    rest = [seed for seed in flagged.clique_seeds if seed != flagged.representative_seed]
    assert [p.caption for p in section.others] == [f"seed {seed}" for seed in rest[:15]]
    assert all(picture.uri for picture in section.others)


def test_totals_count_what_was_analysed(lab: Lab) -> None:
    lab.analyse()
    report = gather_report(lab.store, lab.campaign_id, None)
    counts = report.counts
    assert (counts.prompts, counts.analysed, counts.images, counts.excluded) == (3, 2, 100, 2)
    assert (counts.flagged, counts.matched, counts.training_pictures) == (1, 1, 1)
    text = words(render_report(report))
    assert "Not finished. 1 of 3 prompts is not analysed yet" in text
    assert "1 analysed prompt is not flagged" in text
    assert "test device" in text
    assert "torch 9.9" in text
    assert "l2 alone means little" in text
    assert "1/2 = 0.50 [0.01, 0.99] of prompts analysed" in text
    assert "What this audit can not say" in text


def test_a_finished_campaign_is_not_called_unfinished(lab: Lab) -> None:
    results = lab.analyse()
    last = results[1].model_copy(
        update={"prompt_id": Prompt(text="never analysed").prompt_id, "prompt": "never analysed"}
    )
    lab.store_results([last])
    assert "Not finished" not in lab.html()


def test_nothing_analysed_yet_is_a_report_too(lab: Lab) -> None:
    text = words(lab.html())
    assert "3 of 3 prompts are not analysed yet" in text
    assert "No prompt is flagged so far" in text


def test_labels_are_shown_and_refused_if_they_are_of_other_pictures(lab: Lab) -> None:
    flagged, plain = lab.analyse()
    assert flagged.match
    assert flagged.representative_seed is not None
    name = flagged.prompt_id
    [shown] = [f.section.shown for f in gather_report(lab.store, lab.campaign_id, None).flagged
               if f.section]  # fmt: skip
    assert shown[1] == digest_pixels(lab.training[3])

    def page(*said: Reviewer) -> str:
        return words(render_report(gather_report(lab.store, lab.campaign_id, None, None, said)))

    ann, ben = (Reviewer(who, {name: "same"}, {name: shown}) for who in ("ann", "ben"))
    unsure = Reviewer("cat", {name: "unsure"}, {})
    assert "confirmed 2/2" in page(ann, ben)
    assert "has the labels of ann, ben" in page(ann, ben)
    assert "called the same 2/3" in page(ann, ben, unsure)
    assert "called the same 1/1" in page(ann)
    assert "called the same 1/1" in page(ann, Reviewer("dan", {}, {}))
    assert "has no labels" in page()
    for wrong, why in (
        ([Reviewer("eve", {name: "same"}, {name: (shown[0], "0" * 64)})], "labels of eve are of"),
        ([ann, ann], "one reviewer's"),
        ([Reviewer("eve", {plain.prompt_id: "same"}, {})], "is no prompt and no part with a match"),
    ):
        with pytest.raises(ConfigError, match=why):
            page(*wrong)


def test_where_nothing_is_flagged_nothing_was_examined(lab: Lab) -> None:
    flagged, _ = lab.analyse()
    drop_results(lab.store, lab.campaign_id, {flagged.prompt_id})
    alts = [attrs["alt"] for tag, attrs in Tags(lab.html()).found if tag == "img"]
    assert alts == [f"Generation, seed {seed}" for seed in range(4)]
    text = words(lab.html())
    assert "not examined: nothing was flagged, so nothing was compared" in text
    assert "No search of a training set is stored" not in text
    assert "there is none to search a training set for" in text
    found = gather_found(lab.store, lab.submission, lab.submission.campaign.settings)
    assert "whole picture at edge threshold 0.1, so there was none to look for" in found.notes[0]


def test_unflagged_prompts_with_most_edges_are_listed(lab: Lab) -> None:
    _, plain = lab.analyse()
    near = [
        plain.model_copy(
            update={
                "prompt_id": Prompt(text=f"p{edges}p").prompt_id,
                "prompt": f"p{edges}p",
                "edges": edges,
            }
        )
        for edges in range(1, 13)
    ]
    lab.prompts += [result.prompt for result in near]
    lab.submit()
    lab.store_results(near)
    report = gather_report(lab.store, lab.campaign_id, None)
    assert [result.edges for result in report.nearest] == list(range(12, 2, -1))
    nearest, _, all_of_them = words(render_report(report)).partition("Which prompts")
    assert "p12p" in nearest
    assert "p2p" not in nearest
    assert all(result.prompt in all_of_them for result in near)


def test_what_is_not_flagged_is_no_all_clear_and_is_listed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged, plain = lab.analyse()
    text = words(lab.html())
    assert (
        "In it fewer than 10 generations are the same at the edge threshold of 0.1; at another one "
        "there may be more." in text
    )
    _, _, listed = text.partition("Which prompts")
    assert plain.prompt in listed
    assert flagged.prompt not in listed
    monkeypatch.setattr("seedsweep.audit.report.unflagged_section.UNFLAGGED_SHOWN", 0)
    assert "Which prompts" not in words(lab.html())


def test_a_match_that_is_no_extraction_says_which_condition_it_misses(lab: Lab) -> None:
    flagged, _ = lab.analyse()
    assert flagged.match
    for change, reason in (
        ({"l2": 0.2}, "l2 0.2 > 0.15"),
        ({"adaptive": 1.141}, "adaptive 1.141 > 1"),
        ({"adaptive": None}, "not scored"),
        ({"agreement": 0.0}, "agreement 0"),
        ({"l2": 0.2, "adaptive": 1.141}, "l2 0.2 > 0.15, adaptive 1.141 > 1"),
    ):
        match = flagged.match.model_copy(update={**change, "extracted": False})
        drop_results(lab.store, lab.campaign_id, {flagged.prompt_id})
        lab.store_results([flagged.model_copy(update={"match": match})])
        shown = words(lab.html()).replace("&gt;", ">")
        assert f"compared, not extracted {reason} " in shown


def test_the_table_names_the_training_picture_and_how_often_the_set_has_it(lab: Lab) -> None:
    flagged, _ = lab.analyse()
    assert flagged.match
    assert flagged.representative_seed is not None
    clique = VerifiedClique(
        prompt_id=flagged.prompt_id,
        prompt=flagged.prompt,
        seed=flagged.representative_seed,
        match=flagged.match,
        copies=37,
        caption="of <b>a fox",
    )
    before = words(lab.html())
    assert flagged.match.training_id in before
    assert "caption: " not in before
    store_verification(lab.store, make_search(lab.store, lab.campaign_id, cliques=(clique,)))
    after = words(lab.html())
    assert "caption: of &lt;b&gt;a fox" in after
    assert " 37 " in after


@pytest.mark.parametrize("change", ["moved", "picture gone", "picture replaced"])
def test_training_pictures_that_are_gone_stop_nothing(lab: Lab, change: str) -> None:
    flagged, _ = lab.analyse()
    assert flagged.match
    if change == "moved":
        lab.training_folder.rename(lab.folder / "elsewhere")
    elif change == "picture gone":
        (lab.training_folder / "3.png").unlink()
    else:
        Image.fromarray(lab.picture()).save(lab.training_folder / "3.png")
    html = lab.html()
    assert data_uri(lab.training[3], 512) not in html
    text = words(html)
    expected = {
        "moved": "The training pictures cannot be shown",
        "picture gone": "the training set no longer holds this picture",
        "picture replaced": "the picture now under this id is another one",
    }
    assert expected[change] in text
    assert f"{flagged.match.l2:.4f}" in text


def test_a_training_set_is_not_read_without_a_match(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.submit(verify=False)
    lab.analyse()
    text = words(lab.html())
    assert "no training set was given" in text
    assert "cannot be shown" not in text


def test_missing_and_corrupt_shards_are_said_in_place_of_pictures(lab: Lab) -> None:
    flagged, _ = lab.analyse()
    recipe = lab.submission.campaign.generation_id
    lab.store.delete(keys.shard(recipe, flagged.prompt_id, CUTS[0]))
    text = words(lab.html())
    assert "Seeds 0-29 have no shard" in text
    assert "not stored" in text
    lab.store.replace(keys.shard(recipe, flagged.prompt_id, CUTS[0]), b"no parquet")
    assert "is not what was written" in words(lab.html())


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_a_picture_of_another_size_is_said_and_the_others_are_shown(lab: Lab, seed: int) -> None:
    """Two of the clique, and one that only the histogram has."""
    flagged, _ = lab.analyse()
    recipe = lab.submission.campaign.generation_id
    key = keys.shard(recipe, flagged.prompt_id, CUTS[0])
    images = decode_shard(lab.store.read(key) or b"", key)
    images[seed] = replace(images[seed], png=black_png(9000, 9000))
    unit = WorkUnit(
        campaign_id=lab.campaign_id,
        generation_id=recipe,
        index=0,
        prompt=MEMORISED,
        seeds=CUTS[0],
    )
    lab.store.replace(key, encode_shard(unit, images))
    html = lab.html()
    assert f"The image of seed {seed} is not what was written (it is 9000 x 9000" in words(html)
    assert "Training picture 3.png" in html


def test_parked_units_are_said_with_their_reason_until_they_are_made(lab: Lab) -> None:
    lab.analyse()
    for prompt, index in (("never analysed", 4), (MEMORISED, 0)):
        parked = Parked(
            index=index,
            prompt_id=Prompt(text=prompt).prompt_id,
            seeds=CUTS[0],
            reason=f"the pipeline failed on unit {index}",
        )
        store_parked(lab.store, lab.campaign_id, parked)
    report = gather_report(lab.store, lab.campaign_id, None)
    assert [unit.index for unit in report.parked] == [4]
    assert report.parked_prompts == ("never analysed",)
    assert "the pipeline failed on unit 4" in words(render_report(report))


def test_the_histogram_of_a_prompt_counts_its_evidence_only(lab: Lab) -> None:
    lab.analyse()
    section = gather_report(lab.store, lab.campaign_id, None).flagged[0].section
    assert section
    histogram = section.histogram
    assert histogram
    assert (histogram.seeds, histogram.pairs) == (45, 990)
    assert section.clique_in_histogram == 20
    assert histogram.edges == 20 * 19 // 2
    assert histogram.threshold
    assert histogram.threshold.label == "0.1"


def test_a_reanalysis_is_shown_with_its_own_settings(lab: Lab) -> None:
    results = lab.analyse()
    analysis = Analysis(tiles=2, edge_threshold=0.2, min_clique_size=10)
    settings = lab.submission.campaign.settings.model_copy(update={"analysis": analysis})
    store_control(lab.store, lab.campaign_id, Control(settings=settings))
    lab.store_results(results, settings.analysis_id)
    text = words(lab.html(settings.analysis_id))
    assert "Another analysis." in text
    assert "edge threshold 0.2 instead of 0.1" in text
    assert f"seedsweep analyse {lab.campaign_id} without options goes back" in text
    assert "tiled l2 is at most 0.2" in text
    assert "edge threshold 0.1" in words(lab.html())


def test_another_analysis_draws_no_threshold_that_is_not_its_own(lab: Lab) -> None:
    results = lab.analyse()
    lab.store_results(results, "f" * 16)
    text = words(lab.html("f" * 16))
    assert "Another analysis." in text
    assert "edge threshold 0.1" not in text
    assert "edge threshold 0.1" in words(lab.html())


def test_only_the_first_flagged_prompts_have_a_section(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged, _ = lab.analyse()
    for module in ("contents", "report"):
        monkeypatch.setattr(f"seedsweep.audit.report.{module}.SECTIONS", 1)
    later = {"prompt": "a later prompt", "mean_distance": 0.09}
    later["prompt_id"] = Prompt(text="a later prompt").prompt_id
    lab.prompts.append("a later prompt")
    lab.submit()
    lab.store_results([flagged])
    lab.store_results([flagged.model_copy(update=later)])
    seen: list[tuple[int, int]] = []
    path = write_report(
        lab.store, lab.campaign_id, None, lab.folder, lambda done, total: seen.append((done, total))
    )
    html = path.read_text(encoding="utf-8")
    assert seen == [(1, 1)]
    assert 'id="prompt-1"' in html
    assert 'id="prompt-2"' not in html
    assert "1 more flagged prompt is in the table only" in words(html)
    assert "a later prompt" in html


def test_an_unknown_campaign_and_an_unwritable_folder_are_the_users_error(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="knows no campaign"):
        write_report(lab.store, "nothing", None, lab.folder)
    (lab.folder / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_report(lab.store, lab.campaign_id, None, lab.folder / "file")


@pytest.mark.parametrize("threshold", [None, 0.0004, 0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("count", [2, 3, 45])
def test_histogram_counts_every_pair_once(threshold: float | None, count: int) -> None:
    rng = np.random.default_rng(count)
    half = np.triu(rng.random((count, count)), 1)
    distances = half + half.T
    edges = distances <= (threshold or 0.0)
    np.fill_diagonal(edges, False)
    histogram = bin_distances(distances, edges, threshold)
    assert histogram
    assert histogram.pairs == count * (count - 1) // 2
    assert sum(bar.edges + bar.others for bar in histogram.bars) == histogram.pairs
    assert sum(bar.edges for bar in histogram.bars) == histogram.edges == edges.sum() // 2
    for bar in histogram.bars:
        assert histogram.left <= bar.x
        assert bar.x + bar.width <= histogram.right
    if threshold:
        assert histogram.threshold
        assert histogram.left < histogram.threshold.place < histogram.right


@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.3])
def test_histogram_has_a_bin_that_ends_at_the_threshold(threshold: float) -> None:
    distances = np.array([[0.0, threshold, 0.6], [threshold, 0.0, 0.6], [0.6, 0.6, 0.0]])
    edges = (distances <= threshold) & (distances > 0)
    histogram = bin_distances(distances, edges, threshold)
    assert histogram
    assert histogram.threshold
    [bar] = [bar for bar in histogram.bars if bar.edges]
    assert bar.x + bar.width + 1 == pytest.approx(histogram.threshold.place)


@pytest.mark.parametrize("count", [0, 1])
def test_no_pairs_no_histogram(count: int) -> None:
    nothing = np.zeros((count, count))
    assert bin_distances(nothing, nothing.astype(bool), 0.1) is None


def test_equal_pictures_make_a_histogram_too() -> None:
    histogram = bin_distances(np.zeros((3, 3)), ~np.eye(3, dtype=bool), 0.1)
    assert histogram
    assert [bar.edges for bar in histogram.bars] == [3]


def test_large_pictures_are_reduced_and_small_ones_exact() -> None:
    large = np.random.default_rng(0).integers(0, 256, (512, 256, 3), dtype=np.uint8)
    assert data_uri(large, 192).startswith("data:image/jpeg;base64,")
    assert len(data_uri(large, 64)) < 10_000
    assert data_uri(large[:64, :64], 32).startswith("data:image/png;base64,")


def test_commands_in_sentences_are_shown_as_code_and_everything_is_escaped():
    template = templates().from_string("{{ text|with_code }}")
    shown = template.render(text="Try `run <x>`, not <b>`this`</b> or \x1b` alone.")
    assert "Try <code>run &lt;x&gt;</code>, not &lt;b&gt;<code>this</code>&lt;/b&gt;" in shown
    assert "\x1b" not in shown
    assert shown.endswith("` alone.")
