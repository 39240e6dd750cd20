import hashlib
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from seedsweep.scheduler.campaign.file import parse_campaign, read_campaign
from seedsweep.scheduler.campaign.possible import TORCH_SEEDS
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import Prompt
from seedsweep.storage.settings.campaign import Campaign
from tests.support.model_folders import safetensors, save_folder
from tests.support.patience import done_within
from tests.support.pictures import data_of

OPTIONS = [
    "attention_slicing",
    "vae_slicing",
    "vae_tiling",
    "channels_last",
    "compile",
    "cpu_offload",
]
MINIMAL = """
name = "audit"
[model]
pipeline = "noise"
[prompts]
file = "prompts.txt"
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a prompts file, where campaign files are written."""
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    return tmp_path


@pytest.fixture
def read(folder):
    """Write a campaign file and read it."""

    def write_and_read(text=MINIMAL, name="campaign.toml"):
        (folder / name).write_text(text)
        return read_campaign(folder / name)[:2]

    return write_and_read


@pytest.fixture
def refused(read, folder):
    """The one sentence with which a campaign file is refused, without the file's name."""

    def sentence(text, name="campaign.toml"):
        with pytest.raises(ConfigError) as caught:
            read(text, name)
        message = str(caught.value)
        assert "\n" not in message
        assert message[-1] in ".?"
        return message.removeprefix(f"{folder / name}: ")

    return sentence


def with_model(path, **sampling):
    settings = "\n".join(f"{name} = {value}" for name, value in sampling.items())
    return f"""
name = "audit"
[model]
path = "{path}"
[prompts]
file = "prompts.txt"
[sampling]
{settings}
"""


@pytest.fixture
def pipeline(folder):
    """A folder as save_pretrained leaves it, with the smallest of files."""
    return save_folder(folder / "model")


def test_the_smallest_file_is_a_campaign_with_every_default_visible(read, folder):
    campaign, prompts = read()
    assert prompts == ["a cat", "a dog"]
    assert campaign.prompts.file == str(folder / "prompts.txt")
    assert campaign.prompts.count == 2
    assert campaign.model.fingerprint == "noise:"
    assert campaign.verification is None
    stored = json.loads(campaign.model_dump_json())
    assert stored["model"]["dtype"] == "float32"
    for option in OPTIONS:
        assert stored["model"][option] is False
    assert stored["sampling"]["seeds"] == 500
    assert stored["sampling"]["images_per_unit"] == 50
    assert stored["analysis"]["min_clique_size"] == 10


def test_the_example_of_the_design_is_read(read, folder):
    (folder / "prompts.csv").write_text("Caption;URL\nthe one;x\n")
    (folder / "train").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "train" / "a.png")
    campaign, prompts = read("""
name = "sd15-most-duplicated"
[model]
pipeline = "noise"
path = "stable-diffusion-v1-5/stable-diffusion-v1-5"
revision = "main"
dtype = "float16"
[prompts]
file = "prompts.csv"
column = "Caption"
delimiter = ";"
[sampling]
seeds = 500
first_seed = 0
steps = 50
guidance_scale = 7.5
width = 512
height = 512
batch_size = 16
images_per_unit = 50
[analysis]
tiles = 4
edge_threshold = 0.1
min_clique_size = 10
[verification]
training_set = "train"
controls = "train"
threshold = 0.15
resize = "short-side"
crop = "center"
""")
    assert prompts == ["the one"]
    assert campaign.verification.training_set == str(folder / "train")
    assert campaign.verification.controls == str(folder / "train")
    assert campaign.verification.fingerprint.startswith("sha256:")


def test_the_same_file_is_the_same_campaign_wherever_it_is_read_from(read, folder, monkeypatch):
    first, _ = read()
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    for path in ("../campaign.toml", folder / "below" / ".." / "campaign.toml"):
        again = read_campaign(Path(path)).campaign
        assert again == first
        assert again.campaign_id == first.campaign_id
    assert Campaign.model_validate_json(first.model_dump_json()) == first


def test_comments_order_and_spelled_out_defaults_do_not_make_another_campaign(read):
    first, _ = read()
    again, _ = read("""
# the same
name = "audit"
[sampling]
guidance_scale = 7.5
seeds = 500
[prompts]
file = "prompts.txt"
[model]
pipeline = "noise"
""")
    assert again.campaign_id == first.campaign_id


def test_a_whole_number_may_stand_for_a_fraction(read):
    assert read(f"{MINIMAL}[sampling]\nguidance_scale = 7\n")[0].sampling.guidance_scale == 7.0


def test_other_prompts_in_the_same_file_make_another_campaign(read, folder):
    first, _ = read()
    (folder / "prompts.txt").write_text("a cat\na dog\na cow\n")
    more, _ = read()
    (folder / "prompts.txt").write_text("a dog\na cat\n")
    reordered, _ = read()
    assert len({c.campaign_id for c in (first, more, reordered)}) == 3
    assert len({c.generation_id for c in (first, more, reordered)}) == 1


def test_a_campaign_is_named_by_its_name_and_a_hash(read):
    campaign_id = read()[0].campaign_id
    name, _, hexadecimal = campaign_id.rpartition("-")
    assert name == "audit"
    assert len(hexadecimal) == 12
    int(hexadecimal, 16)


@pytest.mark.parametrize("name", ["a", "A.b_c-d", "0", "x" * 64])
def test_a_name_is_letters_digits_dots_dashes_and_underscores(read, name):
    assert read(MINIMAL.replace("audit", name))[0].name == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "ä", "x" * 65, "..", "a\\n"])
def test_any_other_name_is_refused(refused, name):
    assert refused(MINIMAL.replace("audit", name)).startswith("name = ")


def edited(old, new):
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


def added(text):
    return f"{MINIMAL}{text}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (edited('name = "audit"', ""), "name is missing; add it."),
        (edited('[model]\npipeline = "noise"', ""), "model is missing; add it."),
        (edited("[model]", "[modle]"), "modle is not a known key; did you mean model?"),
        (
            added("[sampling]\nsede = 5"),
            "sampling.sede is not a known key; did you mean seeds?",
        ),
        (
            added("[sampling]\nzzz = 5"),
            "sampling.zzz is not a known key; known here: batch_size, first_seed, "
            "guidance_scale, height, images_per_unit, negative_prompt, sampler, seeds, steps, "
            "width.",
        ),
        (
            added('[verification]\ntraining_set = "t"\ntreshold = 1'),
            "verification.treshold is not a known key; did you mean threshold?",
        ),
        (
            added("[sampling]\nseeds = 0"),
            "sampling.seeds = 0 should be greater than or equal to 1; correct it.",
        ),
        (
            added("[sampling]\nbatch_size = 2147483648"),
            "sampling.batch_size = 2147483648 should be less than 2147483648; correct it.",
        ),
        (
            added("[sampling]\nsteps = 9223372036854775808"),
            "sampling.steps = 9223372036854775808 should be less than 9223372036854775808; correct "
            "it.",
        ),
        (
            added("[sampling]\nseeds = 1000001"),
            "sampling.seeds = 1000001 should be less than or equal to 1000000; correct it.",
        ),
        (
            added('[sampling]\nseeds = "5"'),
            "sampling.seeds = '5' should be a valid integer; correct it.",
        ),
        (
            added("[sampling]\nseeds = 5.0"),
            "sampling.seeds = 5.0 should be a valid integer; correct it.",
        ),
        (
            added("[sampling]\nseeds = true"),
            "sampling.seeds = True should be a valid integer; correct it.",
        ),
        (
            added("[sampling]\nguidance_scale = nan"),
            "sampling.guidance_scale = nan should be a finite number; correct it.",
        ),
        (
            added("[sampling]\nfirst_seed = -1"),
            "sampling.first_seed = -1 should be greater than or equal to 0; correct it.",
        ),
        (
            added(f"[sampling]\nfirst_seed = {2**63 - 1}\nseeds = 2"),
            "the seeds pass 2**63; lower sampling.first_seed.",
        ),
        (
            added('[sampling]\nguidance_scale = 1.0\nnegative_prompt = "blurry"'),
            "sampling.negative_prompt does nothing without guidance; remove it, or raise "
            "sampling.guidance_scale above 1.",
        ),
        (
            added("[analysis]\nedge_threshold = 0"),
            "analysis.edge_threshold = 0 should be greater than 0; correct it.",
        ),
        (
            added("[sampling]\nseeds = 9"),
            "analysis.min_clique_size = 10 is more than the 9 seeds of each prompt, so nothing "
            "could be flagged; lower it, or raise sampling.seeds.",
        ),
        (
            added("[analysis]\nmin_clique_size = 501"),
            "analysis.min_clique_size = 501 is more than the 500 seeds of each prompt, so nothing "
            "could be flagged; lower it, or raise sampling.seeds.",
        ),
        (
            added("[sampling]\nseeds = 2049\n[analysis]\npartial = true"),
            "analysis.partial looks at 2,048 seeds of a prompt at most, and each has 2,049; leave "
            "it out, or lower sampling.seeds or analysis.parts.grid.",
        ),
        (
            added("[sampling]\nseeds = 513\n[analysis]\npartial = true\nparts.grid = 32"),
            "analysis.partial looks at 512 seeds of a prompt at most, and each has 513; leave it "
            "out, or lower sampling.seeds or analysis.parts.grid.",
        ),
        (
            added("[sampling]\nseeds = 1025\n[analysis]\npartial = true\nparts.shift = 0.08"),
            "analysis.partial looks at 1,024 seeds of a prompt at most, and each has 1,025; leave "
            "it out, or lower sampling.seeds or analysis.parts.grid.",
        ),
        (
            added("[analysis]\npartial = true\nparts.least = 65"),
            "analysis.parts.least = 65 is more than the 64 tiles of a picture, so no part could be "
            "found; lower it, or raise analysis.parts.grid.",
        ),
        (
            added(
                "[sampling]\nwidth = 1024\nheight = 1024\n"
                "[analysis]\npartial = true\nparts = {grid = 2, least = 3}"
            ),
            "analysis.parts.grid = 2 makes tiles of more than 131,072 pixels, which are not "
            "compared exactly; raise it.",
        ),
        (
            added("[analysis]\nmin_clique_size = 1"),
            "analysis.min_clique_size = 1 should be greater than or equal to 2; correct it.",
        ),
        (
            added('[verification]\ntraining_set = "t"\ncrop = "left"'),
            "verification.crop = 'left' should be 'center'; correct it.",
        ),
        (
            edited('pipeline = "noise"', 'pipeline = "magic"'),
            "No pipeline is called 'magic' on this machine, where there are diffusers, noise, "
            "python; install the package that provides it, or correct model.pipeline.",
        ),
        (
            edited('pipeline = "noise"', 'pipeline = "a b"'),
            "model.pipeline = 'a b' is no name; take letters, digits, dots, dashes and "
            "underscores, 64 at most, the first a letter or digit.",
        ),
        (
            edited('pipeline = "noise"', 'pipeline = "python"'),
            "model.path = '' names no function; write it as module:function, for example "
            '"package.module:draw".',
        ),
        (
            edited('pipeline = "noise"', 'pipeline = "python"\npath = "no.such:draw"'),
            "The module 'no.such' of model.path has no source file on this machine; add the folder "
            "that holds it to PYTHONPATH, or install its package.",
        ),
        (
            edited('pipeline = "noise"', 'pipeline = "noise"\nvae_tilling = true'),
            "model.vae_tilling is not a known key; did you mean vae_tiling?",
        ),
        (
            edited('pipeline = "noise"', 'pipeline = "noise"\ncompile = "yes"'),
            "model.compile = 'yes' should be a valid boolean; correct it.",
        ),
        (
            edited('file = "prompts.txt"', 'file = "prompts.txt"\ndelimiter = "::"'),
            "prompts.delimiter = '::' String should have at most 1 character; correct it.",
        ),
        (
            edited('pipeline = "noise"', 'fingerprint = "x"'),
            "model.fingerprint is filled in on submission; remove it.",
        ),
        (
            edited('file = "prompts.txt"', 'file = "prompts.txt"\ndigest = "x"'),
            "prompts.digest is filled in on submission; remove it.",
        ),
        (
            edited('file = "prompts.txt"', 'file = "prompts.txt"\ncount = 2'),
            "prompts.count is filled in on submission; remove it.",
        ),
        (
            added('[verification]\ntraining_set = "t"\nfingerprint = "x"'),
            "verification.fingerprint is filled in on submission; remove it.",
        ),
        (
            added('[sampling]\nnegative_prompt = "a\\u0000b"'),
            "sampling.negative_prompt holds a NUL, which no text does; remove it.",
        ),
        (
            edited('pipeline = "noise"', 'path = "m"\n[[model.adapters]]\ntrigger = "\\u0000"'),
            "model.adapters.trigger holds a NUL, which no text does; remove it.",
        ),
        (
            edited('pipeline = "noise"', 'path = "a\\u0000"'),
            "model.path holds a NUL, which no text does; remove it.",
        ),
        (
            edited('file = "prompts.txt"', 'file = "prompts\\u0000.txt"'),
            "prompts.file holds a NUL, which no text does; remove it.",
        ),
        (
            added('[prompts.settings]\nsteps = "\\u0000"'),
            "prompts.settings.steps holds a NUL, which no text does; remove it.",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_sentence(refused, text, sentence):
    assert refused(text) == sentence


def test_control_characters_of_the_file_are_said_and_given_to_the_model(folder):
    text = added('[sampling]\nnegative_prompt = "a\\u001bb"')
    (folder / "campaign.toml").write_text(text)
    rows = RowCounts()
    campaign, _, _ = read_campaign(folder / "campaign.toml", rows)
    assert campaign.sampling.negative_prompt == "a\x1bb"
    assert "stand in sampling.negative_prompt;" in rows.remarks[0]


@pytest.mark.parametrize("value", ["5", "1.5", "true", '"x"', "[1]", "[{a = 1}]", "1979-05-27"])
@pytest.mark.parametrize("table", ["model", "prompts", "verification"])
def test_a_value_where_a_table_should_be_is_refused(refused, table, value):
    tables = {"model": '[model]\npipeline = "noise"', "prompts": '[prompts]\nfile = "prompts.txt"'}
    text = f"{table} = {value}\n{MINIMAL}"
    text = text.replace(tables.get(table, "nothing"), "")
    assert refused(text).startswith(f"{table} = ")


@pytest.mark.parametrize("data", [b"name = ", b"\xff\xfe", b"name = 'a'\nname = 'b'"])
def test_a_file_that_is_not_toml_is_refused(folder, data):
    (folder / "campaign.toml").write_bytes(data)
    with pytest.raises(ConfigError, match="is not TOML"):
        read_campaign(folder / "campaign.toml")


@pytest.mark.parametrize("name", ["nowhere.toml", "", "no/folder.toml"])
def test_a_campaign_file_that_cannot_be_read_is_refused(folder, name):
    with pytest.raises(ConfigError, match="check the path"):
        read_campaign(folder / name)


def test_a_campaign_file_in_a_folder_whose_name_is_not_text_is_refused(folder):
    odd = folder / "caf\udce9"
    odd.mkdir()
    (odd / "campaign.toml").write_text(MINIMAL)
    (odd / "prompts.txt").write_text("a cat")
    with pytest.raises(ConfigError, match="is not UTF-8; rename what is odd"):
        read_campaign(odd / "campaign.toml")


def test_a_missing_prompts_file_is_refused(refused, folder):
    message = refused(edited("prompts.txt", "nowhere.txt"))
    assert str(folder / "nowhere.txt") in message
    assert "name another file." in message


def test_a_folder_and_a_glob_of_prompts_are_found_beside_the_campaign_file(read, folder):
    (folder / "parts").mkdir()
    (folder / "parts" / "b.txt").write_text("an owl")
    (folder / "parts" / "a.txt").write_text("a fox\nan owl")
    for named in ("parts", "parts/*.txt", "p*/?.txt"):
        campaign, prompts = read(edited("prompts.txt", named))
        assert prompts == ["a fox", "an owl"]
        assert campaign.prompts.file == str(folder / named)


def test_what_stands_between_the_cells_of_a_tsv_is_in_the_campaign(read, folder):
    (folder / "prompts.tsv").write_text("text\tn\na, b\t1\n")
    text = edited('file = "prompts.txt"', 'file = "prompts.tsv"\ncolumn = "text"')
    campaign, prompts = read(text)
    assert prompts == ["a, b"]
    assert campaign.prompts.delimiter == "\t"
    assert Campaign.model_validate_json(campaign.model_dump_json()) == campaign


def test_a_prompts_file_without_prompts_is_refused(refused, folder):
    (folder / "prompts.txt").write_text("\n  \n")
    assert (
        refused(MINIMAL) == f"The prompts file {folder / 'prompts.txt'} holds no prompt; add some."
    )


def test_a_model_folder_is_resolved_and_fingerprinted(read, pipeline):
    campaign, _ = read(with_model("model", width=64, height=64))
    assert campaign.model.path == str(pipeline)
    assert campaign.model.fingerprint.startswith("sha256:")


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_the_model_makes_another_recipe_and_another_queue(read, pipeline, option):
    text = with_model("model")
    plain, _ = read(text)
    campaign, _ = read(text.replace("[prompts]", f"{option} = true\n[prompts]"))
    assert campaign.model.options == (option,)
    assert campaign.generation_id != plain.generation_id
    assert campaign.model.model_id != plain.model.model_id


def test_all_options_spelled_out_as_false_are_the_same_campaign(read, pipeline):
    text = with_model("model")
    off = "\n".join(f"{option} = false" for option in OPTIONS)
    assert read(text.replace("[prompts]", f"{off}\n[prompts]")) == read(text)


@pytest.mark.parametrize("pipeline", ["noise", "python", "gan"])
@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_not_diffusers_has_no_model_for_an_option(refused, pipeline, option):
    text = with_pipeline(pipeline, "scribbles:draw")
    message = refused(text.replace("[prompts]", f"{option} = true\n[prompts]"))
    expected = f"model.{option} is for a diffusers model, and {pipeline} has none; remove it."
    assert message == expected


def test_a_function_is_named_by_its_source_and_not_run_on_submission(read, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("SEEDSWEEP_ALLOW_PYTHON", "scribbles:draw")
    ids = set()
    for source in ("raise SystemExit", "raise SystemExit(1)"):
        (folder / "scribbles.py").write_text(source)
        campaign, _ = read(with_pipeline("python", "scribbles:draw"))
        assert campaign.model.path == "scribbles:draw"
        assert campaign.model.fingerprint.startswith("python:scribbles:draw sha256:")
        ids.add((campaign.generation_id, campaign.model.model_id))
    assert len({i for i, _ in ids}) == len({i for _, i in ids}) == 2
    assert "scribbles" not in sys.modules


def test_a_function_named_as_a_folder_is_a_function_nonetheless(read, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    (folder / "scribbles.py").write_text("")
    (folder / "scribbles:draw").mkdir()
    assert read(with_pipeline("python", "scribbles:draw"))[0].model.path == "scribbles:draw"


def test_a_plug_ins_path_is_its_own_unless_it_names_what_lies_beside_the_campaign_file(
    read, folder, install
):
    install()
    remote, _ = read(with_pipeline("gan", "https://gan.example/v1"))
    assert remote.model.path == "https://gan.example/v1"
    (folder / "gan.pt").write_bytes(b"weights")
    local, _ = read(with_pipeline("gan", "gan.pt"))
    assert local.model.path == str(folder / "gan.pt")
    (folder / "gan.pt").write_bytes(safetensors(trained=[2, 2]))
    further, _ = read(with_pipeline("gan", "gan.pt"))
    plain, _ = read(with_pipeline("gan", ""))
    assert plain.model.path == ""
    assert len({c.generation_id for c in (remote, local, further, plain)}) == 4


def with_pipeline(pipeline, path):
    return f"""
name = "audit"
[model]
pipeline = "{pipeline}"
path = "{path}"
[prompts]
file = "prompts.txt"
"""


def test_a_model_that_was_trained_further_makes_another_recipe(read, pipeline):
    first, _ = read(with_model("model"))
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(
        safetensors(trained=[2, 2])
    )
    again, _ = read(with_model("model"))
    assert again.generation_id != first.generation_id


def test_a_diffusers_model_needs_a_path(refused):
    message = refused(edited('pipeline = "noise"', 'pipeline = "diffusers"'))
    assert message == "model.path is missing; name a folder or a hub id."


@pytest.mark.parametrize("path", ["/no/such/folder", "./models/here", "a b", "a/b/c"])
def test_a_path_that_is_no_folder_and_no_hub_id_is_refused(refused, path):
    message = refused(with_model(path))
    assert (
        message
        == f"The model {path!r} is neither a folder here nor a hub id; correct the model's path."
    )


def test_a_hub_id_is_refused_at_once_where_the_hub_is_switched_off(refused, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with done_within(2):
        message = refused(with_model("organisation/model"))
    assert "'organisation/model' is no folder here, and the hub does not give it" in message
    assert "(OfflineModeIsEnabled)" in message
    assert "fetch the model and name its folder" in message


def test_a_hub_id_is_refused_where_the_hub_does_not_answer(refused, monkeypatch, free_port):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    nowhere = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", nowhere)
    assert "the hub does not give it at revision 'main' (ConnectError)" in refused(
        with_model("organisation/model")
    )


def test_a_folder_that_holds_no_pipeline_is_refused(refused, folder):
    (folder / "empty").mkdir()
    assert "no model_index.json" in refused(with_model("empty"))


def test_weights_that_are_not_safetensors_are_refused(refused, pipeline):
    unet = pipeline / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model.bin")
    message = refused(with_model("model"))
    assert message.startswith(f"The weights in {unet} are not safetensors")


@pytest.mark.parametrize("size", [{"width": 100, "height": 64}, {"width": 64, "height": 68}])
def test_a_size_that_the_autoencoder_cannot_make_is_refused(refused, pipeline, size):
    message = refused(with_model("model", **size))
    assert message.endswith("set width and height to multiples of 8.")
    assert f"{size['width']} x {size['height']}" in message


@pytest.mark.parametrize("name", ["nowhere", "nowhere.parquet", "prompts.txt", "empty"])
def test_a_training_set_that_cannot_be_read_is_refused(refused, folder, name):
    (folder / "empty").mkdir()
    message = refused(added(f'[verification]\ntraining_set = "{name}"'))
    assert message.startswith(f"The training set {folder / name} cannot be read")


@pytest.mark.parametrize("name", ["nowhere", "prompts.txt"])
def test_control_pictures_that_cannot_be_read_are_refused_before_anything_is_made(
    refused, folder, name
):
    (folder / "train").mkdir()
    (folder / "train" / "a.png").write_bytes(b"")
    message = refused(added(f'[verification]\ntraining_set = "train"\ncontrols = "{name}"'))
    assert message.startswith(f"The set of control pictures {folder / name} cannot be read")


def test_the_digest_names_the_prompts_and_their_order(read):
    campaign, prompts = read()
    ids = "".join(Prompt(text=text).prompt_id for text in prompts)
    assert campaign.prompts.digest == hashlib.sha256(ids.encode()).hexdigest()


PICTURE = data_of(Image.new("RGB", (8, 8), "red"))


@pytest.mark.parametrize(
    ("files", "settings", "said"),
    [
        (
            {"t/a.png": b"no picture"},
            'training_set = "t"',
            "None of 1 pictures of the training set",
        ),
        (
            {"t/a.png": b"", "t/b.png": PICTURE, "t.toml": b""},
            'training_set = "t"\ncolumn = "photo"',
            "column = 'photo' is set, but ",
        ),
        (
            {"t/a.png": PICTURE},
            'training_set = "t"\nfolder = "t"',
            "folder = '{folder}/t' is set, but {folder}/t has no column of paths",
        ),
        ({"t/a.json": b"", "t/b.json": b""}, 'training_set = "t"', "left out: 2 .json"),
        ({"t.pkl": b"\x80\x04"}, 'training_set = "t.pkl"', "convert what is pickled"),
        ({"t.npz": b"PK"}, 'training_set = "t.npz"', "give one with an array (N, H, W, 3)"),
        ({"t.tar": b""}, 'training_set = "t.tar"', "The first: t.tar (ReadError: empty file)"),
    ],
)
def test_a_training_set_that_is_other_than_it_should_be_is_refused(
    refused, folder, files, settings, said
):
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    assert said.format(folder=folder) in refused(added(f"[verification]\n{settings}"))


@pytest.mark.parametrize(
    ("columns", "settings", "said"),
    [
        ({"jpg": [PICTURE], "png": [PICTURE]}, "", "its columns `jpg` and `png` may all be meant"),
        ({"photo": [PICTURE]}, "", "to one of its own that is: photo"),
        ({"photo": [PICTURE]}, 'column = "foto"', "it has no column `foto`"),
        ({"image": ["https://example.invalid/a.png"]}, "", "is an address and not a picture"),
        ({"image": ["gone.png"]}, "", "No such file"),
        ({"jpg": [None]}, "", "Left out: 1 row without a picture."),
        ({"image": [PICTURE]}, 'folder = "."', "has no column of paths"),
    ],
)
def test_a_parquet_file_without_pictures_that_can_be_read_is_refused(
    refused, folder, columns, settings, said
):
    pq.write_table(pa.table(columns), folder / "t.parquet")
    message = refused(added(f'[verification]\ntraining_set = "t.parquet"\n{settings}'))
    assert said in message


def test_the_column_and_its_folder_are_settings(read, folder):
    (folder / "pics").mkdir()
    for name in ("a.png", "b.png"):
        (folder / "pics" / name).write_bytes(PICTURE)
    pq.write_table(pa.table({"where": ["a.png"]}), folder / "t.parquet")

    def fingerprint(settings):
        text = f'[verification]\ntraining_set = "t.parquet"\ncolumn = "where"\n{settings}'
        verification = read(added(text))[0].verification
        assert (verification.column, verification.training_set) == ("where", f"{folder}/t.parquet")
        return verification.fingerprint

    before = fingerprint('folder = "pics"')
    (folder / "pics" / "b.png").write_bytes(b"not named, so not of the set")
    assert fingerprint('folder = "pics"') == before
    (folder / "pics" / "a.png").write_bytes(data_of(Image.new("RGB", (8, 8), "blue")))
    assert fingerprint('folder = "pics"') != before


def test_seeds_that_torch_does_not_tell_apart_are_refused():
    apart = [torch.Generator("cpu").manual_seed(seed) for seed in (7, 7 + TORCH_SEEDS)]
    one, other = (torch.randn(8, generator=generator) for generator in apart)
    assert torch.equal(one, other)
    raw = {"name": "x", "prompts": {"file": "p.txt"}}

    def parse(seeds_end, **model):
        sampling = {"seeds": 10, "first_seed": seeds_end - 10}
        return parse_campaign({**raw, "model": model, "sampling": sampling}, Path("c.toml"))

    assert parse(TORCH_SEEDS, path="m").seeds.stop == TORCH_SEEDS
    with pytest.raises(ConfigError, match="torch makes equal noise of seeds that are so far apart"):
        parse(TORCH_SEEDS + 1, path="m")
    assert parse(TORCH_SEEDS + 1, pipeline="noise").seeds.stop == TORCH_SEEDS + 1
