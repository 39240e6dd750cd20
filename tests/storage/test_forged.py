"""What is in the store is what was written there, or is refused by its key, and hides nothing else.

Each case changes one object of a store in which two campaigns are done.
"""

import io
import json
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedsweep.audit.findings.duplication import measure_duplication
from seedsweep.audit.findings.saved import keep
from seedsweep.cli import main as command_line
from seedsweep.storage import keys
from seedsweep.storage.campaigns import store_control, store_verification
from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.prompts import encode_prompts
from seedsweep.storage.records import Control
from seedsweep.storage.result_parts import SCHEMA, store_results
from tests.support.campaigns import (
    campaign_file,
    make_images,
    park_unit,
    small_sampling,
    submit_file,
)
from tests.support.findings import make_search
from tests.support.results import make_flagged, make_result

PROMPTS = ["a cat", "a dog", "an owl"]
SEEDS = 4
TABLES = {
    "sampling": small_sampling(SEEDS, 8, images_per_unit=2),
    "analysis": {"min_clique_size": 2},
}


class Yard:
    """A store with two campaigns, of which one is to be meddled with; `own` and `other` are ids."""

    def __init__(self, folder):
        self.folder, self.store = folder, FolderStore(folder / "seedsweep-data")
        self.plan, other = (self.submit(name) for name in ("own", "other"))
        self.own, self.other = self.plan.campaign.campaign_id, other.campaign.campaign_id
        self.analysis_id = self.plan.campaign.analysis_id
        (folder / "copies.csv").write_text("prompt,copies\na cat,3\n")
        keep(self.store, measure_duplication(self.store, self.own, folder / "copies.csv"))
        store_verification(self.store, make_search(self.store, self.own))
        store_control(self.store, self.own, Control(priority=1))

    def submit(self, name):
        model = {"pipeline": "noise", "path": name}
        file = campaign_file(self.folder / f"{name}.toml", PROMPTS, name, model=model, **TABLES)
        plan = submit_file(self.store, file)
        make_images(self.store, plan)
        results = [make_flagged(prompt="a cat"), *map(self.result, PROMPTS[1:])]
        store_results(self.store, plan.campaign.analysis_id, plan.campaign.campaign_id, results)
        return plan

    @staticmethod
    def result(prompt, **changes):
        return make_result(prompt=prompt, **changes)

    @property
    def campaign_key(self):
        return keys.campaign(self.own)

    @property
    def prompts_key(self):
        return keys.prompts(self.own)

    @property
    def part(self):
        [key] = self.store.list(keys.results_prefix(self.analysis_id, self.own))
        return key

    @property
    def shard(self):
        return keys.unit_shard(self.plan.unit(0))

    def finding(self, kind):
        [key] = self.store.list(keys.findings_prefix(self.own, kind))
        return key

    def edit(self, key, change):
        """Change the JSON of an object."""
        value = json.loads(self.store.read(key))
        change(value)
        self.store.replace(key, json.dumps(value).encode())

    def forge(self, *rows, **columns):
        """Have the part of results hold these, with columns changed row by row; keeps its key."""
        table = pa.Table.from_pylist([row.model_dump() for row in rows], SCHEMA)
        for name, value in columns.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(name), pa.array([value] * len(rows)))
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        self.store.replace(self.part, buffer.getvalue())

    def add(self, *rows, name="0000000000000000", analysis_id=None):
        """Store another part of results, which sorts before the true one."""
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([row.model_dump() for row in rows], SCHEMA), buffer)
        key = keys.results_part(analysis_id or self.analysis_id, self.own, name)
        self.store.create(key, buffer.getvalue())

    def write(self, path, data=b""):
        """Put a file below the store's folder, under whatever name."""
        target = self.store.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("yard")
    return folder, Yard(folder)


@pytest.fixture
def yard(template, tmp_path):
    folder, made = template
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    copy = object.__new__(Yard)
    copy.__dict__.update(made.__dict__)
    copy.folder, copy.store = tmp_path, FolderStore(tmp_path / "seedsweep-data")
    return copy


@pytest.fixture
def seedsweep(yard, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.chdir(yard.folder)
        monkeypatch.delenv("SEEDSWEEP_BROKER_URL", raising=False)
        monkeypatch.setattr(sys, "argv", ["seedsweep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return run


def set_in(*path, to):
    def change(value):
        for name in path[:-1]:
            value = value[name]
        value[path[-1]] = to

    return change


def edited(key, *path, to):
    return lambda yard: yard.edit(getattr(yard, key), set_in(*path, to=to))


def flagged(**changes):
    return make_flagged(prompt="a dog").model_copy(update=changes)


def foreign(yard):
    """The other campaign's part, under this one's name."""
    [key] = yard.store.list(keys.results_prefix(yard.analysis_id, yard.other))
    yard.store.create(f"{keys.results_prefix(yard.analysis_id, yard.own)}part-0.parquet",
                      yard.store.read(key))  # fmt: skip


def parked(**changes):
    def meddle(yard):
        park_unit(yard.store, yard.plan, 0)
        key = keys.parked(yard.own, 0)
        yard.edit(key, lambda value: value.update(changes))

    return meddle


def moved_parked(yard):
    park_unit(yard.store, yard.plan, 1)
    yard.store.create(keys.parked(yard.own, 0), yard.store.read(keys.parked(yard.own, 1)))


OF_CAMPAIGN = {
    "another threshold": edited("campaign_key", "campaign", "analysis", "edge_threshold", to=0.9),
    "more seeds": edited("campaign_key", "campaign", "sampling", "seeds", to=400),
    "another name": edited("campaign_key", "campaign", "name", to="evil"),
    "a wrong type": edited("campaign_key", "campaign", "sampling", "steps", to="many"),
    "an unknown key": edited("campaign_key", "campaign", "colour", to="red"),
    "cuts of other seeds": edited("campaign_key", "cuts", 0, "last", to=0),
    "no cuts": edited("campaign_key", "cuts", to=[]),
    "a cut that is too long": edited("campaign_key", "cuts", 1, "last", to=2**63 - 1),
    "the other campaign's record": lambda yard: yard.store.replace(
        yard.campaign_key, yard.store.read(keys.campaign(yard.other))
    ),
    "nothing": lambda yard: yard.store.replace(yard.campaign_key, b""),
    "a list": lambda yard: yard.store.replace(yard.campaign_key, b"[1, 2]"),
    "deep nesting": lambda yard: yard.store.replace(yard.campaign_key, b"[" * 100_000),
}
OF_PROMPTS = {
    "another list": lambda yard: yard.store.replace(
        yard.prompts_key, encode_prompts(["a cat", "a dog", "an emu"])
    ),
    "another order": lambda yard: yard.store.replace(
        yard.prompts_key, encode_prompts(PROMPTS[::-1])
    ),
    "fewer": lambda yard: yard.store.replace(yard.prompts_key, encode_prompts(PROMPTS[:2])),
    "texts under true ids": lambda yard: yard.store.replace(yard.prompts_key, swapped_texts()),
    "none": lambda yard: yard.store.delete(yard.prompts_key),
}
OF_RESULTS = {
    "more seeds than there are": lambda yard: yard.add(
        make_result(prompt="a cat", seeds=SEEDS + 1)
    ),
    "seeds of another campaign": lambda yard: yard.add(
        make_result(prompt="a cat").model_copy(update={"seeds_digest": "f" * 16})
    ),
    "another verdict on the same seeds": lambda yard: yard.add(make_result(prompt="a cat")),
    "a prompt that was not submitted": lambda yard: yard.add(make_result(prompt="an emu")),
    "another prompt's id": lambda yard: yard.forge(make_result(), prompt="a dog"),
    "a flag without a clique": lambda yard: yard.forge(make_result(), flagged=True),
    "a clique without a flag": lambda yard: yard.forge(make_flagged(), flagged=False),
    "a clique that is larger than its seeds": lambda yard: yard.forge(
        make_flagged(), clique_size=4
    ),
    "seeds outside the campaign": lambda yard: yard.forge(
        flagged(clique_seeds=(1, 77)), prompt_id=flagged().prompt_id
    ),
    "a seed twice": lambda yard: yard.forge(flagged(clique_seeds=(1, 1))),
    "a representative outside its clique": lambda yard: yard.forge(flagged(representative_seed=2)),
    "more no evidence than pictures": lambda yard: yard.forge(make_result(), excluded=9),
    "fewer than no pictures": lambda yard: yard.forge(make_result(), seeds=-1),
    "a distance that is none": lambda yard: yard.forge(make_flagged(), mean_distance=float("nan")),
    "no table": lambda yard: yard.store.replace(yard.part, b"PAR1"),
    "nothing": lambda yard: yard.store.replace(yard.part, b""),
    "other columns": lambda yard: yard.store.replace(yard.part, encode_prompts(PROMPTS)),
    "the other campaign's part": foreign,
    "a stray object": lambda yard: yard.write(
        f"{keys.results_prefix(yard.analysis_id, yard.own)}notes.txt"
    ),
}
OF_PARKED = {
    "an index beyond the units": lambda yard: (
        park_unit(yard.store, yard.plan, 0),
        yard.store.create(keys.parked(yard.own, 99), json.dumps(
            {"index": 99, "prompt_id": "0" * 16, "seeds": {"first": 0, "last": 1}, "reason": "x"}
        ).encode()),
    ),
    "another index than its key's": moved_parked,
    "an index below 0": parked(index=-1),
    "another prompt": parked(prompt_id="0" * 16),
    "other seeds": parked(seeds={"first": 0, "last": 3}),
    "a wrong type": parked(index="first"),
    "a stray object": lambda yard: yard.write(f"campaigns/{yard.own}/parked/notes.txt", b"hello"),
}  # fmt: skip
OF_CONTROL = {
    "a wrong state": lambda yard: yard.edit(
        keys.control(yard.own), lambda value: value.update(state="asleep")
    ),
    "no JSON": lambda yard: yard.store.replace(keys.control(yard.own), b"\xff"),
}


def swapped_texts():
    table = pq.read_table(io.BytesIO(encode_prompts(PROMPTS)))
    texts = pa.array(["a cat", "a dog", "an emu"])
    buffer = io.BytesIO()
    pq.write_table(table.set_column(1, "prompt", texts), buffer)
    return buffer.getvalue()


def cases(of):
    return pytest.mark.parametrize("meddle", of.values(), ids=of.keys())


def refused(finished, key):
    """Exit code 1, and one sentence that names the object and what to do; no traceback."""
    assert finished.returncode == 1, finished
    assert key in finished.stderr
    assert "; " in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    return True


def others_are_shown(seedsweep, yard):
    """The other campaign's status and results are as if nothing were wrong."""
    listed = json.loads(seedsweep("status", "--json").stdout)
    assert yard.other in [campaign["id"] for campaign in listed]
    shown = seedsweep("results", yard.other)
    assert (shown.returncode, "1 of 3 prompts flagged" in shown.stdout) == (0, True)
    return True


@cases(OF_CAMPAIGN)
def test_a_campaign_that_is_not_what_was_submitted(yard, seedsweep, meddle):
    meddle(yard)
    for command in (["status", yard.own], ["results", yard.own], ["report", yard.own, "-o", "r"]):
        assert refused(seedsweep(*command), yard.campaign_key)
    all_of_them = seedsweep("status")
    assert (all_of_them.returncode, yard.other in all_of_them.stdout) == (1, True)
    assert yard.campaign_key in all_of_them.stderr
    assert others_are_shown(seedsweep, yard)


@cases(OF_PROMPTS)
def test_prompts_that_are_not_what_was_submitted(yard, seedsweep, meddle):
    meddle(yard)
    for command in (["status", yard.own], ["evidence", yard.own, "-o", "bundle"]):
        assert refused(seedsweep(*command), yard.prompts_key)
    assert others_are_shown(seedsweep, yard)


@cases(OF_RESULTS)
def test_results_that_are_not_what_was_written(yard, seedsweep, meddle):
    meddle(yard)
    assert refused(seedsweep("results", yard.own), keys.results_prefix(yard.analysis_id, yard.own))
    assert others_are_shown(seedsweep, yard)


@cases(OF_PARKED)
def test_parked_units_that_are_none_of_the_campaigns(yard, seedsweep, meddle):
    meddle(yard)
    for command in (["status", yard.own], ["report", yard.own, "-o", "r"]):
        assert refused(seedsweep(*command), keys.parked_prefix(yard.own))
    assert others_are_shown(seedsweep, yard)


@cases(OF_CONTROL)
def test_a_wish_that_cannot_be_read(yard, seedsweep, meddle):
    meddle(yard)
    for command in (["status", yard.own], ["results", yard.own]):
        assert refused(seedsweep(*command), keys.control(yard.own))
    assert others_are_shown(seedsweep, yard)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("verifications", {"campaign_id": "another"}),
        ("verifications", {"analysis_id": "f" * 16}),
        ("verifications", {"coverage": 3}),
        ("duplications", {"campaign_id": "another"}),
        ("duplications", {"curve": None}),
    ],
)
def test_a_finding_that_is_not_what_was_written_is_said_and_not_shown(
    yard, seedsweep, kind, change
):
    key = yard.finding(kind)
    yard.edit(key, lambda value: value.update(change))
    assert seedsweep("report", yard.own, "-o", "r").returncode == 0
    assert (
        f"The object {key} is not what was written"
        in (yard.folder / "r" / "index.html").read_text()
    )


@pytest.mark.parametrize(
    "path",
    [
        "campaigns/my notes/read me.txt",
        "campaigns/_archive/old.json",
        "campaigns/notes.txt",
        "campaigns/empty/note.txt",
        "results/my notes/read me.txt",
        "results/_old/c/part-0.parquet",
        "shards/read me.txt",
        "shards/_old/00/x.parquet",
        "Thumbs.db",
        "a folder/b file",
    ],
)
def test_what_is_no_object_of_ours_is_left_alone(yard, seedsweep, path):
    yard.write(path, b"hello")
    listed = json.loads(seedsweep("status", "--json").stdout)
    assert {campaign["id"] for campaign in listed} == {yard.own, yard.other}
    for command in (["results", yard.own], ["check", yard.own], ["report", yard.own, "-o", "r"]):
        assert seedsweep(*command).returncode == 0


def test_a_stray_object_among_the_shards_is_named_with_what_to_do(yard, seedsweep):
    path = f"shards/{yard.plan.campaign.generation_id}/00/notes.txt"
    yard.write(path, b"hello")
    assert refused(seedsweep("status", yard.own), path)
    assert others_are_shown(seedsweep, yard)


def test_a_shard_of_another_unit_is_found_by_a_check(yard, seedsweep):
    other = yard.store.read(keys.unit_shard(yard.plan.unit(1)))
    yard.store.replace(yard.shard, other)
    found = seedsweep("check", yard.own)
    assert found.returncode == 1
    assert f"{yard.shard} is corrupt" in found.stdout


def test_results_of_before_that_say_not_whose_they_are_are_read(yard, seedsweep):
    yard.forge(make_flagged(prompt="a cat"))
    shown = seedsweep("results", yard.own)
    assert (shown.returncode, "1 of 1 prompts flagged" in shown.stdout) == (0, True)


def test_a_part_of_results_of_another_analysis_is_refused(yard, seedsweep):
    settings = yard.plan.campaign.settings
    analysis = settings.analysis.model_copy(update={"edge_threshold": 0.2})
    wanted = settings.model_copy(update={"analysis": analysis})
    store_control(yard.store, yard.own, Control(settings=wanted))
    key = keys.results_part(wanted.analysis_id, yard.own, "moved")
    yard.store.create(key, yard.store.read(yard.part))
    assert refused(seedsweep("results", yard.own), key)
