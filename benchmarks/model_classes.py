"""Which classes of the installed diffusers can be audited; writes a page about it.

    .venv/bin/python -m benchmarks.model_classes [CLASS…] [--write [FILE]]

Each is made tiny, with random weights, and makes pictures of two prompts as a worker would. Its
tables are printed, of the classes that are named or of all; with `--write`, the page, to
docs/model-classes.md or a file. Some classes need torchvision, in the version for the torch that is
installed.
"""

import argparse
import json
import logging
import tempfile
import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import diffusers
import numpy as np
import transformers

from seedsweep.storage.errors import SeedsweepError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.folder_check import check_model
from seedsweep.workers.models.parts import Places
from seedsweep.workers.pipelines.diffusers_class import (
    call_parameters,
    check_class,
    class_of,
    guidance_of,
    is_unconditional,
    why_unfit,
)
from seedsweep.workers.pipelines.diffusers_pipeline import DiffusersPipeline
from seedsweep.workers.pipelines.negative_prompt import why_class_takes_none
from seedsweep.workers.pipelines.prompt_tokens import open_tokenizers
from seedsweep.workers.pipelines.unconditional_pipeline import UnconditionalPipeline
from tests.support.classes.registry import NOT_MADE, TINY, save_class
from tests.support.seed_pipelines import NOT_MADE as SEEDLESS
from tests.support.seed_pipelines import SEED_PIPELINES, SIDE

PAGE = Path(__file__).parents[1] / "docs" / "model-classes.md"
PROMPTS = ("a cat", "two dogs")
SCALE = 3.0
NEGATIVE = "grey"
ALONE = "with `batch_size = 1` alone"


@dataclass(frozen=True)
class Trial:
    """What became of a class: its guidance and whether a negative prompt is used, or why not."""

    name: str
    guidance: str = ""
    negative: str = ""
    note: str = ""
    refused: str = ""
    untried: str = ""


def text_to_image_classes():
    """The classes that diffusers exports for pictures of prompts, by name: those that it lists
    itself, and those whose call takes a prompt and how many pictures to make of it, no frames."""
    # It imports every pipeline, some of which warn.
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    listed = {kind.__name__ for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
    named = {name: kind for name in dir(diffusers) if (kind := class_of(name)) is not None}
    return [
        name
        for name, kind in sorted(named.items())
        if name in listed or _makes_pictures_of_prompts(kind)
    ]


def _makes_pictures_of_prompts(kind):
    known = call_parameters(kind)
    frames = {"num_frames", "video_length", "num_videos_per_prompt"}
    return {"prompt", "num_images_per_prompt"} <= set(known) and not frames & set(known)


def try_class(name, folder):
    """Have a class made tiny in an empty folder make pictures of two prompts, if it can be."""
    unfit = why_unfit(class_of(name))
    if unfit:
        return Trial(name, refused=unfit)
    if name not in TINY:
        return Trial(name, untried=NOT_MADE.get(name, "no tiny configuration was made"))
    needs = TINY[name].needs
    if needs and not find_spec(needs):
        return Trial(name, untried=f"it needs {needs}, which is not installed")
    save_class(name, folder)
    notes = [f"needs {needs}"] if needs else []
    tried = _try_batch(name, folder, 2)
    if "set sampling.batch_size = 1" in tried.refused:
        tried = _try_batch(name, folder, 1)
        notes.append(ALONE)
    return replace(tried, note=", ".join(notes))


def _try_batch(name, folder, batch_size):
    side = TINY[name].side
    sampling = Sampling(
        steps=2, guidance_scale=SCALE, width=side, height=side, batch_size=batch_size
    )
    model = Model(path=str(folder), fingerprint="tiny")
    try:
        check_model(model, sampling)
        check_class(model)
        open_tokenizers(model)
        pipeline = DiffusersPipeline(Places(folder), model, sampling, "cpu", threads=1)
        first, second = pipeline.generate(PROMPTS[0], [1, 2])
        (other,) = pipeline.generate(PROMPTS[1], [1])
        (again,) = pipeline.generate(PROMPTS[0], [2])
    except SeedsweepError as error:
        return Trial(name, refused=str(error).replace(str(folder), "FOLDER"))
    assert not first.flaw, f"{name}: {first.flaw}"
    different = [first.pixels, second.pixels, other.pixels]
    assert len({each.tobytes() for each in different}) == 3, f"{name}: pictures are one"
    assert np.array_equal(second.pixels, again.pixels), f"{name}: a seed has two pictures"
    used = _scale(first)
    try:
        pipeline = pipeline.with_sampling(sampling.model_copy(update={"negative_prompt": NEGATIVE}))
        negative, with_it = "yes", _scale(pipeline.generate(PROMPTS[0], [1])[0])
    except SeedsweepError as error:
        negative, with_it = "no" if "alters nothing" in str(error) else "fails", None
    kind = class_of(name)
    assert bool(why_class_takes_none(kind)) == (negative != "yes"), f"{name}: found on submission"
    argument = guidance_of(kind)
    if used is not None:
        guidance = f"`{argument}`"
    else:
        guidance = f"`{argument}`, with a negative prompt" if with_it is not None else ""
    return Trial(name, guidance, negative)


def classes_of_seeds():
    """The classes that diffusers exports for pictures of seeds alone, by name."""
    named = {name: kind for name in dir(diffusers) if (kind := class_of(name)) is not None}
    return [name for name, kind in sorted(named.items()) if is_unconditional(kind)]


def try_seeds(name, folder):
    """Have a class made tiny in an empty folder make pictures of seeds alone, if it can be."""
    unfit = why_unfit(class_of(name))
    if unfit:
        return Trial(name, refused=unfit)
    if name not in SEED_PIPELINES:
        return Trial(name, untried=SEEDLESS.get(name, "no tiny configuration was made"))
    SEED_PIPELINES[name]().save_pretrained(folder)
    usual = Sampling(steps=4, guidance_scale=1.0, width=SIDE, height=SIDE, batch_size=2)
    model = Model(path=str(folder), fingerprint="tiny")
    refused = []
    for batch_size in (2, 1):
        sampling = usual.model_copy(update={"batch_size": batch_size})
        try:
            check_model(model, sampling)
            check_class(model, with_prompts=False)
            pipeline = UnconditionalPipeline(Places(folder), model, sampling, "cpu", threads=1)
            first, second = pipeline.generate("", [1, 2])
            (again,) = pipeline.generate("", [2])
        except SeedsweepError as error:
            refused.append(str(error).replace(str(folder), "FOLDER"))
            continue
        assert not np.array_equal(first.pixels, second.pixels), f"{name}: pictures are one"
        assert np.array_equal(second.pixels, again.pixels), f"{name}: a seed has two pictures"
        return Trial(name, note=ALONE if refused else "")
    return Trial(name, refused=refused[0])


def seed_tables(trials):
    """The tables of what makes pictures of seeds alone, as Markdown."""
    works = [one for one in trials if not one.refused and not one.untried]
    others = [one for one in trials if one.refused or one.untried]
    lines = [f"## {len(works)} work without prompts", "", "| class | |", "|---|---|"]
    lines += [f"| {one.name} | {one.note} |" for one in works]
    lines += ["", f"{len(others)} do not:", "", "| class | why |", "|---|---|"]
    lines += [f"| {one.name} | {_cell(one.refused or one.untried)} |" for one in others]
    return "\n".join(lines) + "\n"


def _scale(generation):
    return json.loads(generation.provenance.recipe)["guidance_scale"]


def tables(trials):
    """The tables of what works, what is refused, and what was not tried, as Markdown."""
    works = [one for one in trials if not one.refused and not one.untried]
    lines = [
        *(f"## {len(works)} work", "", "| class | guidance | negative prompt | |"),
        *("|---|---|---|---|",),
        *(f"| {o.name} | {o.guidance or 'none'} | {o.negative} | {o.note} |" for o in works),
    ]
    refused = [one for one in trials if one.refused]
    lines += [
        "",
        f"## {len(refused)} are refused",
        "",
        "| class | with this sentence |",
        "|---|---|",
    ]
    lines += [f"| {one.name} | {_cell(one.refused)} |" for one in refused]
    untried = [one for one in trials if one.untried]
    lines += ["", f"## {len(untried)} were not tried", "", "| class | why |", "|---|---|"]
    lines += [f"| {one.name} | {_cell(one.untried)} |" for one in untried]
    return "\n".join(lines) + "\n"


def _cell(text):
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("_", r"\_")


def page(trials, of_seeds):
    head = f"""# Which classes of diffusers can be audited?

```bash
python -m benchmarks.model_classes --write
```

This wrote the tables below with diffusers {diffusers.__version__} and transformers
{transformers.__version__}. It makes each class as small as its configuration allows, with random
weights and tokenizers of letters, saves it, checks and loads it as a worker does, and has it make
pictures of two prompts. Those of two seeds and of two prompts differ, and a seed's is the same in
another batch. What real weights need of memory and time it does not say.

Listed is every class that diffusers itself names for text to image, and every other that takes a
prompt and how many pictures to make of it.

- **guidance** is the argument that the campaign's `guidance_scale` is given as. *none*: the class
  takes no scale, or does not use it; then the recorded recipe has null. A class of a prior and a
  decoder guides each apart; the other one has its own default.
- *with a negative prompt*: the class guides away from `negative_prompt`, and not at all without
  one. The makers of Qwen-Image use `negative_prompt = " "`.
- **negative prompt**, *no*: asking for one is refused, since it would alter nothing; *fails*: it is
  refused, since the class fails on it if each picture has a seed of its own. Either is said on
  submission.
- *needs torchvision*: its prompts go through a processor that sees pictures too. Without the
  package `run` refuses it, and `submit` says so; `pip install torchvision` on every worker's host,
  in the version and the build (CPU or CUDA) that its torch wants.
- *with `batch_size = 1` alone*: in a batch its pictures would not each follow prompt and seed.
- A class that can have a language model write prompts anew is told not to.
- A size that a class does not make is refused with the size that it made instead.

The last tables are of the classes that make pictures of seeds alone, for
[campaigns without prompts](unconditional.md): those whose call can be told how many pictures to
make, and takes no prompt.

"""
    return f"{head}{tables(trials)}\n{seed_tables(of_seeds)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", nargs="*")
    parser.add_argument("--write", nargs="?", type=Path, const=PAGE, metavar="FILE")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    diffusers.utils.logging.set_verbosity_error()
    trials, of_seeds, without = [], [], classes_of_seeds()
    for name in options.classes or [*text_to_image_classes(), *without]:
        with tempfile.TemporaryDirectory() as folder:
            if name in without:
                of_seeds.append(try_seeds(name, Path(folder)))
            else:
                trials.append(try_class(name, Path(folder)))
    if options.write:
        options.write.write_text(page(trials, of_seeds))
    else:
        print(tables(trials), seed_tables(of_seeds), sep="\n", end="")


if __name__ == "__main__":
    main()
