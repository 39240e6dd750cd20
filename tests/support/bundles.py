"""A small audit with flagged prompts and a training set, as bundles of evidence need it."""

import hashlib
import json

import numpy as np
from PIL import Image

from seedsweep.audit.evidence.bundle import BundleOptions, write_evidence
from seedsweep.storage import keys
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.prompt_results import Match
from seedsweep.storage.result_parts import store_results
from seedsweep.storage.results import drop_results
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.storage.shards import decode_shard
from seedsweep.storage.verification_results import (
    ControlMatches,
    Coverage,
    VerificationResult,
    VerifiedClique,
)
from seedsweep.workers.analysis.matching import is_extracted, nearest_training
from seedsweep.workers.analysis.nearest import describe_training
from seedsweep.workers.analysis.verdict import judge
from seedsweep.workers.analysts.prompt_result import result_of
from seedsweep.workers.generation.shard_writer import encode_unit
from seedsweep.workers.pipelines.loading import load_pipeline
from seedsweep.workers.pipelines.noise import NoisePipeline, noise_share
from seedsweep.workers.pipelines.protocol import Generation
from tests.support.campaigns import campaign_text, make_images, small_sampling, submit_file
from tests.support.pictures import pixels_of

SIDE, SEEDS = 12, 6
EVIL = '<script>alert("x")</script> ../../etc & "=cmd()"'
TABLES = {
    "prompts": {"file": "prompts.csv", "column": "text"},
    "sampling": small_sampling(SEEDS, SIDE, images_per_unit=4),
    "analysis": {"min_clique_size": 3, "tiles": 2},
    "verification": {"training_set": "training", "neighbours": 3},
}


def prompt_of(share, text):
    """A prompt that the noise model repeats at this share of the seeds."""
    found = (f"{text} {number}" for number in range(1000))
    return next(prompt for prompt in found if noise_share(prompt) == share)


class Audit:
    """Three prompts whose every image is one picture, and one that repeats none.

    All are analysed. Two of the three, the evil one among them, repeat training pictures.
    """

    def __init__(self, folder, keep="all"):
        self.folder = folder
        self.flagged = [prompt_of(1.0, text) for text in (EVIL, "a fox", "an owl")]
        self.prompts = [*self.flagged, prompt_of(0.0, "a cat")]
        lines = ['"' + prompt.replace('"', '""') + '"' for prompt in self.prompts]
        (folder / "prompts.csv").write_text("\n".join(["text", *lines]))
        (folder / "campaign.toml").write_text(campaign_text(keep=keep, **TABLES))
        self.store = FolderStore(folder / "seedsweep-data")
        self.training = folder / "training"
        self.training.mkdir()
        rng = np.random.default_rng(5)
        for place in range(4):
            self.save(f"{place}.png", rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
        for place, prompt in enumerate(self.flagged[:2]):
            self.save(f"known-{place}.png", self.near(prompt))
        self.plan = submit_file(self.store, folder / "campaign.toml")
        self.campaign, self.id = self.plan.campaign, self.plan.campaign.campaign_id
        make_images(self.store, self.plan)
        self.pipeline = load_pipeline(self.store, self.campaign, "cpu", 1)
        self.results = [self.judge(place) for place in range(len(self.prompts))]
        store_results(self.store, self.campaign.analysis_id, self.id, self.results)

    def save(self, name, pixels):
        Image.fromarray(pixels).save(self.training / name)

    def near(self, prompt):
        """A picture that the prompt's images almost repeat."""
        pipeline = NoisePipeline(Sampling(width=SIDE, height=SIDE))
        return (pipeline.generate(prompt, [999])[0].pixels // 4 * 4).astype(np.uint8)

    def keys_of(self, place):
        cuts = len(self.plan.cuts)
        return [keys.unit_shard(self.plan.unit(place * cuts + cut)) for cut in range(cuts)]

    def images(self, place):
        return [
            image
            for key in self.keys_of(place)
            for image in decode_shard(self.store.read(key), key)
        ]

    def judge(self, place):
        """The result that the analysis would store of a prompt."""
        prompt, images = self.prompts[place], self.images(place)
        pixels = np.stack([pixels_of(image.png) for image in images])
        settings, verification = self.campaign.analysis, self.campaign.verification
        verdict = judge(
            pixels, range(SEEDS), settings.tiles, settings.edge_threshold, settings.min_clique_size
        )
        matches = []
        for clique in verdict.cliques:
            names = sorted(file.name for file in self.training.iterdir())
            training = [np.asarray(Image.open(self.training / name)) for name in names]
            found = nearest_training(
                pixels[clique.representative_seed],
                describe_training(np.stack(training)),
                settings.tiles,
                verification,
            )
            matches.append(
                Match(
                    training_id=names[found.index],
                    l2=found.l2,
                    tiled_l2=found.tiled_l2,
                    adaptive=found.adaptive,
                    extracted=is_extracted(found, verification.threshold, SIDE),
                    agreement=found.agreement,
                    distinct=True,
                )
            )
        return result_of(prompt, range(SEEDS), 0, verdict, matches)

    def repeat(self, place, seeds, picture):
        """Have the prompt's images of these seeds be that picture, and judge the prompt anew."""
        first = place * len(self.plan.cuts)
        for unit in map(self.plan.unit, range(first, first + len(self.plan.cuts))):
            made = self.pipeline.generate(unit.prompt, range(unit.seeds.first, unit.seeds.last + 1))
            changed = [
                Generation(g.seed, picture, g.flaw, g.provenance) if g.seed in seeds else g
                for g in made
            ]
            self.store.replace(keys.unit_shard(unit), encode_unit(unit, changed))
        self.change(place, self.judge(place))

    def change(self, place, result):
        """Have the analysis say this of the prompt."""
        drop_results(self.store, self.id, {result.prompt_id})
        store_results(self.store, self.campaign.analysis_id, self.id, [result])
        self.results[place] = result

    def search(self):
        """What a search of the training set finds for the results."""
        matched = [
            (result, clique) for result in self.results for clique in result.cliques if clique.match
        ]
        cliques = tuple(
            VerifiedClique(
                prompt_id=result.prompt_id,
                prompt=result.prompt,
                seed=clique.representative_seed,
                match=clique.match,
                copies=1,
                caption=None,
            )
            for result, clique in matched
        )
        extracted = {c.match.training_id for c in cliques if c.match.extracted}
        return VerificationResult(
            campaign_id=self.id,
            analysis_id=self.campaign.analysis_id,
            settings=self.campaign.verification,
            verified_at="2026-01-01T00:00:00+00:00",
            versions="v",
            coverage=Coverage(path="training", listing="1", pictures=6, unreadable=0),
            cliques=cliques,
            not_verified=(),
            groups=tuple((name,) for name in sorted(extracted)),
            controls=ControlMatches(
                coverage=Coverage(path="controls", listing="2", pictures=9, unreadable=0),
                whole=True,
                searched=9,
                matches=1,
            ),
        )

    def bundle(self, name="bundle", **additions):
        """Write the bundle and return its folder."""
        folder = self.folder / name
        write_evidence(
            self.store, self.id, folder, BundleOptions(**additions), lambda done, of: None
        )
        return folder


def seal_anew(folder):
    """Make manifest and sums fit the files, as a forger without a key can."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name in [*manifest["files"]]:
        if not (folder / name).exists():
            del manifest["files"][name]
            continue
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  manifest.json\n")
