"""Whatever a campaign file or a prompts file holds, one sentence comes out of it, or prompts."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seedsweep.scheduler.campaign.file import read_campaign
from seedsweep.scheduler.prompt_lists.prompt_files import read_prompts
from seedsweep.scheduler.prompt_lists.row_counts import RowCounts
from seedsweep.storage.errors import SeedsweepError
from seedsweep.storage.settings.analysis import Analysis
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Blocks, PromptList, Sampling
from tests.support.campaigns import campaign_text

fuzzed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXTS = ["a fox", 'he said "hi"', "Zoë, by night", "two\nlines", " ", "a fox"]


def valid_files():
    """A small file of each kind, by its name's end."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": TEXTS, "n": range(len(TEXTS))}), sink)
    quoted = ["text,n", *('"' + text.replace('"', '""') + '",1' for text in TEXTS)]
    objects = [json.dumps({"text": text, "n": None}) for text in TEXTS]
    files = {
        ".txt": "\n".join(TEXTS).encode(),
        ".csv": "\n".join(quoted).encode(),
        ".tsv": "\n".join(line.replace('",1', '"\t1') for line in quoted).encode(),
        ".jsonl": "\n".join(objects).encode(),
        ".json": f"[{', '.join(objects)}]".encode(),
        ".parquet": sink.getvalue().to_pybytes(),
    }
    return files | {
        kind + ".gz": gzip.compress(data, mtime=0)
        for kind, data in files.items()
        if kind != ".parquet"
    }


FILES = valid_files()


@st.composite
def mutated(draw, data):
    """The bytes, cut, overwritten, repeated or with others between them, a few times."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 20)))
        data[start:stop] = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"", b'"', b"\n", b"\0", b"\xff", b"\x1b", b"{", b"[" * 50])
            | st.just(bytes(data[start:stop] * 3))
        )
    return bytes(data)


def outcome(read):
    """What comes out of a reader; None if it refuses, which it has to in one short sentence."""
    try:
        return read()
    except SeedsweepError as error:
        refusal = str(error)
    assert len(refusal) < 1000
    assert refusal.endswith((".", "?"))
    return None


def survives(path, data, **form):
    """The file is refused, or read: what is read are distinct prompts, and no row is forgotten."""
    path.write_bytes(data)
    rows = RowCounts()
    prompts = outcome(lambda: list(read_prompts(PromptList(file=str(path), **form), rows)))
    if prompts is not None:
        assert len(set(prompts)) == len(prompts) == rows.read - rows.skipped
        assert all(prompt == prompt.strip() != "" for prompt in prompts)
        assert all(prompt.encode() for prompt in prompts)


FORMS = st.fixed_dictionaries(
    {},
    optional={
        "column": st.sampled_from(["text", "1", "", "other"]),
        "delimiter": st.sampled_from(",;\t| \"'\n\\"),
        "quoting": st.sampled_from(["csv", "none"]),
        "header": st.booleans(),
        "limit": st.integers(1, 3),
    },
)


@pytest.mark.fuzz
@fuzzed
@given(kind=st.sampled_from([*FILES]), data=st.binary(max_size=300), form=FORMS)
def test_any_bytes_are_prompts_or_refused(tmp_path, kind, data, form):
    survives(tmp_path / f"a{kind}", data, **form)


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", FILES)
@fuzzed
@given(data=st.data(), form=FORMS)
def test_a_file_that_was_damaged_is_read_or_refused(tmp_path, kind, data, form):
    survives(tmp_path / f"a{kind}", data.draw(mutated(FILES[kind])), **form)


@pytest.mark.parametrize("kind", [".parquet", ".csv.gz", ".json"])
def test_a_file_that_was_cut_anywhere_is_refused(tmp_path, kind):
    path = tmp_path / f"a{kind}"
    for length in range(len(FILES[kind])):
        path.write_bytes(FILES[kind][:length])
        with pytest.raises(SeedsweepError):
            list(read_prompts(PromptList(file=str(path), column="text")))


@pytest.mark.fuzz
@fuzzed
@given(name=st.text(st.characters(exclude_categories=()), max_size=40))
@example("*")
@example("**")
@example("***")
@example("a**/b")
@example("[")
@example("\0.txt")
@example("x" * 300 + ".txt")
def test_any_name_of_a_prompts_file_is_read_or_refused(tmp_path, name):
    path = tmp_path / "folder" / "prompts.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("a fox")
    named = PromptList(file=f"{path.parent}/{name.lstrip('/.')}")
    assert outcome(lambda: list(read_prompts(named))) in (None, ["a fox"])


CAMPAIGN = campaign_text(
    sampling={"seeds": 6, "width": 16, "height": 16},
    analysis={"min_clique_size": 3, "edge_threshold": 0.1},
)


def survives_as_campaign(folder, data):
    """The file is a campaign with prompts, or refused in one sentence."""
    (folder / "prompts.txt").write_text("a fox\nan owl")
    path = folder / "campaign.toml"
    path.write_bytes(data)
    if read := outcome(lambda: read_campaign(path)):
        campaign, prompts, _ = read
        assert campaign.prompts.count == len(prompts) > 0
        assert campaign.campaign_id.startswith(campaign.name)


@pytest.mark.fuzz
@fuzzed
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_campaign_or_refused(tmp_path, data):
    survives_as_campaign(tmp_path, data)


@pytest.mark.fuzz
@fuzzed
@given(data=mutated(CAMPAIGN.encode()))
@example(CAMPAIGN.replace("seeds = 6", "seeds = 0x" + "f" * 5000).encode())
@example(CAMPAIGN.replace("seeds = 6", "seeds = " + "9" * 5000).encode())
@example(CAMPAIGN.replace("seeds = 6", "seeds = " + "9" * 4000).encode())
@example(CAMPAIGN.replace("seeds = 6", f'seeds = "{"x" * 5000}"').encode())
@example(CAMPAIGN.replace("seeds = 6", "seeds = " + "[" * 500 + "]" * 500).encode())
@example(CAMPAIGN.replace("seeds = 6", "seeds = " + "[" * 10_000).encode())
@example((CAMPAIGN + "a." * 2000 + "b = 1").encode())
@example((CAMPAIGN + "x" * 5000 + " = 1").encode())
@example((CAMPAIGN + "#" * 2_000_000).encode())
def test_a_campaign_file_that_was_damaged_is_read_or_refused(tmp_path, data):
    survives_as_campaign(tmp_path, data)


RECORDS = (Model, PromptList, Sampling, Blocks, Analysis)
KEYS = ["other", *(name for record in RECORDS for name in record.model_fields)]
VALUES = st.recursive(
    st.none().map(lambda _: "")
    | st.integers().map(str)
    | st.floats().map(str)
    | st.booleans().map(lambda value: str(value).lower())
    | st.text(max_size=20).map(json.dumps)
    | st.sampled_from(["1e400", "-0", "1979-05-27T07:32:00Z", "'''\n'''", "0x7fffffffffffffff"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]"),
    max_leaves=4,
)


@pytest.mark.fuzz
@fuzzed
@given(
    table=st.sampled_from(["model", "prompts", "sampling", "descriptors", "analysis", "other"]),
    key=st.sampled_from(KEYS),
    value=VALUES,
)
def test_any_value_of_a_key_is_a_campaign_or_refused(tmp_path, table, key, value):
    tables = {"model": {"pipeline": '"noise"'}, "prompts": {"file": '"prompts.txt"'}}
    tables.setdefault(table, {})[key] = value
    text = 'name = "a"\n'
    for name, values in tables.items():
        text += f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
    survives_as_campaign(tmp_path, text.encode())
