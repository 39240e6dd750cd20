"""Generators that are not ours: a user's function, and a plug-in of an installed package."""

import json
import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from seedsweep.storage.errors import GenerationError, ModelLoadError, TransientError
from seedsweep.storage.records import Flaw
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.fingerprint import fingerprint_model
from seedsweep.workers.pipelines.loading import load_pipeline
from tests.support.campaigns import make_campaign
from tests.support.checkout import ROOT

(SPOTS,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "plug-ins.md").read_text(), re.DOTALL)

# A whole plug-in, which can be told to misbehave.
GAN = """
import dataclasses
import numpy as np
from seedsweep.pipelines import Generation, ModelLoadError, Provenance, TransientError, canonical

class Gan:
    def __init__(self, model, sampling, device, threads):
        self.model, self.sampling, self.device, self.threads = model, sampling, device, threads

    def generate(self, prompt, seeds):
        made = [self.make(prompt, seed) for seed in seeds]
        return made[1:] if self.model.path == "one too few" else made

    def make(self, prompt, seed):
        width = self.sampling.width + (self.model.path == "too wide")
        kind = np.float32 if self.model.path == "floats" else np.uint8
        generator = np.random.default_rng([seed, *prompt.encode()])
        pixels = generator.integers(0, 256, (self.sampling.height, width, 3)).astype(kind)
        provenance = Provenance(
            batch_size=1, threads=self.threads, device=self.device, dtype=self.model.dtype,
            versions="gan 1.2", recipe=canonical({"steps": self.sampling.steps}),
        )
        return Generation(seed, pixels, None, provenance)

    def with_sampling(self, sampling):
        return Gan(self.model, sampling, self.device, self.threads)

def load(model, sampling, device, threads):
    if model.path == "away":
        raise TransientError("The service is away; wait.")
    if model.path == "broken":
        raise ZeroDivisionError("oh")
    if model.path == "refused":
        raise ModelLoadError("No such weights; name others.")
    return Gan(model, sampling, device, threads)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on the import path, whose modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def allow(monkeypatch):
    def name_them(*names):
        monkeypatch.setenv("SEEDSWEEP_ALLOW_PYTHON", ",".join(names))

    return name_them


@pytest.fixture
def function(folder, allow):
    """Write a module and load its function `draw` as a worker does."""

    def load(source, module="drawing", **sampling):
        write(folder, module, source)
        allow(f"{module}:draw")
        return load_pipeline(None, campaign(f"{module}:draw", **sampling), "cpu", 1)

    return load


def write(folder, module, source):
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(source))
    return file


def submitted(path, pipeline="python"):
    model = Model(pipeline=pipeline, path=path)
    return model.model_copy(update={"fingerprint": fingerprint_model(model)})


def campaign(path, **sampling):
    return make_campaign(model=submitted(path), **sampling)


def returns(expression):
    return f"import numpy as np\ndef draw(prompt, seed, width, height):\n    return {expression}\n"


def test_the_function_of_the_readme_makes_pictures_that_depend_on_prompt_and_seed_alone(function):
    pipeline = function(SPOTS, "spots", width=24)
    together = pipeline.generate("a cat", range(3))
    assert [g.seed for g in together] == [0, 1, 2]
    assert all(g.pixels.shape == (16, 24, 3) and g.flaw is None for g in together)
    assert np.array_equal(pipeline.generate("a cat", [2])[0].pixels, together[2].pixels)
    assert not np.array_equal(together[0].pixels, together[1].pixels)
    assert not np.array_equal(pipeline.generate("a dog", [2])[0].pixels, together[2].pixels)


def test_a_process_finds_a_function_through_its_environment_and_needs_no_torch(tmp_path):
    write(tmp_path, "spots", SPOTS)
    code = """if True:
        import sys
        from seedsweep.storage.settings.campaign import Campaign
        from seedsweep.storage.settings.model import Model
        from seedsweep.storage.settings.sampling import PromptList, Sampling
        from seedsweep.workers.models.fingerprint import fingerprint_model
        from seedsweep.workers.pipelines.loading import load_pipeline
        model = Model(pipeline="python", path="spots:draw")
        model = model.model_copy(update={"fingerprint": fingerprint_model(model)})
        assert "spots" not in sys.modules
        sampling = Sampling(width=8, height=8)
        prompts = PromptList(file="prompts.txt")
        campaign = Campaign(name="a", model=model, prompts=prompts, sampling=sampling)
        print(load_pipeline(None, campaign, "cpu", 1).generate("a cat", [0])[0].pixels.shape)
        assert not {"torch", "diffusers"} & set(sys.modules)
    """
    environment = {"PYTHONPATH": f"{tmp_path}", "SEEDSWEEP_ALLOW_PYTHON": "other:fn, spots:draw"}
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout == "(8, 8, 3)\n", finished.stderr


@pytest.mark.parametrize(
    "allowed", ["", "*", "trap", "trap:*", "trap:draw2", "trap:drawn,ap:draw", "trap:draw:x"]
)
def test_a_function_that_the_environment_does_not_name_exactly_is_never_imported(
    folder, allow, allowed
):
    write(folder, "trap", f"open({str(folder / 'sprung')!r}, 'w')")
    wanted = campaign("trap:draw")
    allow(allowed)
    with pytest.raises(ModelLoadError, match=r"trap:draw may not run.*SEEDSWEEP_ALLOW_PYTHON"):
        load_pipeline(None, wanted, "cpu", 1)
    assert not (folder / "sprung").exists()


def test_a_function_of_a_package_is_found_without_running_it_and_runs_with_it(folder, allow):
    package = write(folder, "art.__init__", f"open({str(folder / 'ran')!r}, 'w')")
    write(folder, "art.tones", "tone = 7")
    write(folder, "art.drawing", "from art.tones import tone\nfrom .tones import tone as also\n")
    with (folder / "art" / "drawing.py").open("a") as file:
        file.write(returns("np.full((height, width, 3), tone, np.uint8)"))
    assert package.is_file()
    wanted = campaign("art.drawing:draw")
    assert not (folder / "ran").exists()
    allow("art.drawing:draw")
    (made,) = load_pipeline(None, wanted, "cpu", 1).generate("a cat", [0])
    assert (made.pixels == 7).all()
    assert (folder / "ran").exists()


def test_a_worker_refuses_a_function_that_changed_since_it_was_submitted(folder, allow):
    file = write(folder, "drawing", SPOTS)
    wanted = campaign("drawing:draw")
    allow("drawing:draw")
    file.write_text(SPOTS + "\n")
    with pytest.raises(ModelLoadError, match="not the one that was submitted"):
        load_pipeline(None, wanted, "cpu", 1)
    file.unlink()
    with pytest.raises(ModelLoadError, match=r"no source file on this machine.*PYTHONPATH"):
        load_pipeline(None, wanted, "cpu", 1)


def test_a_worker_that_imported_older_code_runs_what_is_submitted_now(function):
    for level in (1, 2):
        pipeline = function(returns(f"np.full((height, width, 3), {level}, np.uint8)"))
        assert (pipeline.generate("a cat", [0])[0].pixels == level).all()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_here", "ModuleNotFoundError"),
        ("def draw(:", "SyntaxError"),
        ("def paint(): ...", "AttributeError"),
        ("draw = 5", "drawing:draw is no function, but 5"),
    ],
)
def test_a_function_that_cannot_be_imported_is_refused(function, source, reason):
    with pytest.raises(ModelLoadError, match=reason):
        function(source)


def test_floats_are_rounded_as_those_of_diffusers(function):
    pipeline = function(returns("np.linspace(0, 1, height * width * 3).reshape(height, width, 3)"))
    (made,) = pipeline.generate("a cat", [0])
    assert made.flaw is None
    expected = np.round(np.linspace(0, 1, 16 * 16 * 3) * 255).reshape(16, 16, 3)
    assert np.array_equal(made.pixels, expected)
    assert made.provenance.dtype == "float64"


def test_every_level_of_uint8_is_kept(function):
    pipeline = function(
        returns("np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)")
    )
    (made,) = pipeline.generate("a cat", [0])
    assert np.array_equal(made.pixels.ravel(), np.arange(768) % 256)


@pytest.mark.parametrize(
    ("picture", "flaw"),
    [
        ("np.zeros((height, width, 3), np.uint8)", Flaw.CONSTANT),
        ("np.full((height, width, 3), 0.5)", Flaw.CONSTANT),
        ("np.full((height, width, 3), np.nan)", Flaw.NOT_FINITE),
        ("np.full((height, width, 3), np.inf, np.float16)", Flaw.NOT_FINITE),
    ],
)
def test_pictures_that_are_no_evidence_are_marked(function, picture, flaw):
    assert function(returns(picture)).generate("a cat", [0])[0].flaw == flaw


@pytest.mark.parametrize(
    ("picture", "named"),
    [
        ("None", r"object of shape \(\)"),
        ("np.zeros((width, height, 3), np.uint8)", r"uint8 of shape \(24, 16, 3\).*\(16, 24, 3\)"),
        ("np.zeros((height, width), np.uint8)", r"shape \(16, 24\)"),
        ("np.zeros((height, width, 4), np.uint8)", r"shape \(16, 24, 4\)"),
        ("np.zeros((height, width, 3), np.int64)", "gave int64"),
        ("np.full((height, width, 3), -1.0)", "floats from -1 to -1; scale them"),
        ("np.full((height, width, 3), 255.0)", "floats from 255 to 255; scale them"),
        ("[[1], [2, 3]]", "failed on the prompt 'a cat' and seed 5"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_is_no_picture_of_the_wanted_size_is_refused_by_name(function, picture, named):
    pipeline = function(returns(picture), width=24)
    with pytest.raises(GenerationError, match=f"The function drawing:draw .*{named}"):
        pipeline.generate("a cat", [5])


def test_a_function_can_say_that_a_service_is_away(function):
    pipeline = function("""
        from seedsweep.storage.errors import TransientError
        def draw(*_):
            raise TransientError("The service is away; wait.")
    """)
    with pytest.raises(TransientError, match="away"):
        pipeline.generate("a cat", [0])


def test_a_function_takes_another_recipe_and_its_pictures_say_what_made_them(function):
    pipeline = function(SPOTS, "spots").with_sampling(Sampling(width=24, height=8))
    (made,) = pipeline.generate("a cat", [0])
    assert made.pixels.shape == (8, 24, 3)
    assert (made.provenance.batch_size, made.provenance.device) == (1, "cpu")
    assert json.loads(made.provenance.recipe) == {
        "fingerprint": submitted("spots:draw").fingerprint,
        "height": 8,
        "pipeline": "python",
        "width": 24,
    }


@pytest.fixture
def gan(folder, install):
    """A plug-in called `gan` that is installed, by its module's file."""
    install()
    return write(folder, "my_gan", GAN)


@pytest.mark.parametrize("path", ["", "https://gan.example/v1"])
def test_a_plug_in_is_loaded_with_the_campaigns_model_and_recipe(gan, path):
    wanted = make_campaign(model=submitted(path, "gan"), steps=7)
    pipeline = load_pipeline(None, wanted, "cpu", 3)
    made = pipeline.generate("a cat", range(2))
    assert [g.seed for g in made] == [0, 1]
    assert made[0].provenance.threads == 3
    assert json.loads(made[0].provenance.recipe) == {"steps": 7}
    (wider,) = pipeline.with_sampling(Sampling(width=24, height=8)).generate("a cat", [0])
    assert wider.pixels.shape == (8, 24, 3)


def test_a_worker_without_the_plug_in_or_with_another_version_says_what_to_install(gan, install):
    wanted = make_campaign(model=submitted("", "gan"))
    install(version="1.3")
    with pytest.raises(ModelLoadError, match=r"my-gan 1\.3, not plugin:gan my-gan 1\.2"):
        load_pipeline(None, wanted, "cpu", 1)
    missing = make_campaign(model=Model(pipeline="other", fingerprint="plugin:other its-package 1"))
    with pytest.raises(ModelLoadError, match=r"No pipeline is called 'other'.*install"):
        load_pipeline(None, missing, "cpu", 1)


def test_a_plug_in_that_is_updated_below_a_running_worker_wants_it_restarted(gan, install):
    load_pipeline(None, make_campaign(model=submitted("", "gan")), "cpu", 1)
    install(version="1.3")
    with pytest.raises(ModelLoadError, match=r"began with my-gan 1\.2, and my-gan 1\.3.*restart"):
        load_pipeline(None, make_campaign(model=submitted("", "gan")), "cpu", 1)


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        ("away", TransientError, "The service is away"),
        ("refused", ModelLoadError, "No such weights"),
        ("broken", ModelLoadError, r"gan of my-gan 1\.2 could not be loaded .ZeroDivisionError"),
    ],
)
def test_a_plug_in_that_does_not_load_is_reported(gan, path, error, reason):
    with pytest.raises(error, match=reason):
        load_pipeline(None, make_campaign(model=submitted(path, "gan")), "cpu", 1)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("one too few", r"seeds \[0, 1\].* gave \[1\]"),
        ("too wide", r"shape \(16, 17, 3\)"),
        ("floats", r"gave float32 of shape \(16, 16, 3\), not uint8 of"),
    ],
)
def test_a_plug_in_that_breaks_its_promise_is_refused(gan, path, reason):
    pipeline = load_pipeline(None, make_campaign(model=submitted(path, "gan")), "cpu", 1)
    with pytest.raises(GenerationError, match=reason):
        pipeline.generate("a cat", range(2))


def test_a_plug_in_that_is_not_importable_is_refused(folder, install):
    install()
    with pytest.raises(ModelLoadError, match="ModuleNotFoundError"):
        load_pipeline(None, make_campaign(model=submitted("", "gan")), "cpu", 1)
