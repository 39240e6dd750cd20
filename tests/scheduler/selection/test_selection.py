"""Prompts chosen from real training sets, and the files they are written to."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seedsweep.scheduler.prompt_lists.prompt_files import read_prompts
from seedsweep.scheduler.selection import selection
from seedsweep.scheduler.selection.choice import Groups, captioned_groups, choices, drawn
from seedsweep.scheduler.selection.prompt_table import (
    COLUMNS,
    ChosenPrompt,
    refuse_output,
    write_prompts,
)
from seedsweep.scheduler.selection.selection import (
    SelectionOptions,
    choose_prompts,
    select_prompts,
)
from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.storage.settings.sampling import PromptList
from seedsweep.workers.analysis import cells, copy_groups
from seedsweep.workers.cluster.ray_cluster import Actors
from seedsweep.workers.training import copy_questions, frame_file, slice_description, slices
from seedsweep.workers.training.embedding_model import open_embedding
from seedsweep.workers.training.picture_set import open_set
from tests.support.onnx_models import TOML, need_embeddings, write_model
from tests.support.pictures import (
    data_of,
    drawings,
    scaled_and_back,
    stored_anew,
    write_parquet,
    write_tar,
)
from tests.support.searchers import Here


def quiet(what, done, total):
    pass


def choose(path, crew=None, **asked):
    return choose_prompts(SelectionOptions(path, **asked), crew or Here(), quiet)


def rows_of(prompts):
    return [(each.prompt, each.copies, each.why) for each in prompts]


@pytest.fixture
def pictures():
    """Five pictures, the second three times and the third twice as copies: with captions."""
    one, two, three, four, five = drawings(5, 6)
    made = [one, two, stored_anew(two, 80), three, scaled_and_back(two, 0.6), three, four, five]
    captions = ["one", "a two", "two", "three", "two", "three", None, "five"]
    return made, captions


@pytest.fixture
def parquet(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(slices, "SLICE_PICTURES", 2)
    made, captions = pictures
    return write_parquet(tmp_path / "t.parquet", [data_of(p) for p in made], 2, caption=captions)


def test_the_most_duplicated_come_first_with_their_most_common_caption(parquet):
    prompts, summary = choose(parquet, most_duplicated=9)
    assert rows_of(prompts) == [("two", 3, "most-duplicated"), ("three", 2, "most-duplicated")]
    assert [each.training_id for each in prompts] == ["t.parquet#2", "t.parquet#3"]
    assert (summary.pictures, summary.distinct, summary.copied) == (8, 5, 2)
    assert summary.without_caption == 1
    notes = " ".join(summary.notes)
    asked = (
        "Asked for 9 most-duplicated prompts; there are no more captions of pictures with copies"
    )
    assert f"{asked} than 2." in notes
    assert "which cannot become prompts: 1." in notes


def test_all_three_in_one_pass_with_all_reasons_of_each(parquet):
    prompts, summary = choose(parquet, most_duplicated=1, outliers=9, random=9)
    assert rows_of(prompts)[0] == ("two", 3, "most-duplicated+outlier+random")
    assert {each.prompt for each in prompts} == {"one", "two", "three", "five"}
    assert [each.prompts for each in summary.chosen] == [1, 4, 4]
    assert summary.prompts == 4
    assert "Chosen for several reasons, and written once: 5." in summary.notes


def test_however_the_work_is_cut_the_prompts_are_the_same(tmp_path, monkeypatch):
    pictures = drawings(4, 8, 32)
    made = [stored_anew(p, q) for q in (95, 80, 60, 40) for p in (*pictures, pictures[0])]
    captions = [f"caption {number}" for number in range(len(made))]
    path = write_parquet(tmp_path / "t.parquet", [data_of(p) for p in made], 3, caption=captions)
    asked = {"most_duplicated": 4, "outliers": 4, "random": 4}
    whole = choose(path, **asked)
    monkeypatch.setattr(copy_questions, "OTHERS", 1)
    monkeypatch.setattr(copy_questions, "FIRSTS", 1)
    monkeypatch.setattr(frame_file, "_FETCHED", 1)
    monkeypatch.setattr(slices, "SLICE_PICTURES", 2)
    monkeypatch.setattr(slice_description, "_BLOCK", 2)
    monkeypatch.setattr(copy_groups, "BLOCK", 6)
    monkeypatch.setattr(copy_groups, "LOOKED_UP", 6)
    monkeypatch.setattr(cells, "WHOLE", 6)
    monkeypatch.setattr(cells, "CELL", 2)
    assert choose(path, **asked) == whole
    assert [each.copies for each in whole[0][:4]] == [8, 4, 4, 4]


def test_random_prompts_follow_from_the_seed_and_not_from_the_order(tmp_path):
    files = [data_of(picture) for picture in drawings(12, 3)]
    captions = [f"caption {number}" for number in range(12)]
    first = write_parquet(tmp_path / "a.parquet", files, 5, caption=captions)
    second = write_parquet(tmp_path / "b.parquet", files[::-1], 5, caption=captions[::-1])

    def texts(path, **asked):
        return [each.prompt for each in choose(path, **asked)[0]]

    assert texts(first, random=5) == texts(second, random=5)
    assert texts(first, random=5) == texts(first, random=8)[:5]
    assert texts(first, random=5) != texts(first, random=5, seed=1)


def test_every_prompt_is_drawn_as_often_as_any_other():
    count, draws = 20, 2000
    rng = np.random.default_rng(1)
    names = rng.integers(1, 2**63, count).astype(np.uint64)
    places = np.arange(count)
    groups = Groups(places, rng.integers(1, 100, count), names, places)
    times = Counter(int(p) for seed in range(draws) for p in drawn(groups, seed, 5))
    expected = draws * 5 / count
    squared = sum((times[place] - expected) ** 2 / expected for place in range(count))
    assert squared < 45  # the 0.1 % quantile of chi-square, 19 degrees of freedom, is 43.8


def test_the_outlier_is_the_picture_unlike_all_others(tmp_path):
    [base] = drawings(1, 2, 32)
    rng = np.random.default_rng(0)
    alike = [np.roll(base, shift, (0, 1)) // 2 + 60 for shift in rng.integers(32, size=(9, 2))]
    odd = np.full((32, 32, 3), (255, 0, 255), np.uint8)
    odd[::8] = 0
    captions = [*map(str, range(9)), "odd", "odd"]
    files = [data_of(picture) for picture in [*alike, odd, stored_anew(odd, 90)]]
    path = write_parquet(tmp_path / "t.parquet", files, caption=captions)
    [found], _ = choose(path, outliers=1)
    assert (found.prompt, found.copies, found.why) == ("odd", 2, "outlier")


def captions_of_groups(firsts, captions):
    """By first picture: how many pictures, the caption, and where it first stands."""
    found = {}
    for first in sorted(set(firsts)):
        members = [place for place, each in enumerate(firsts) if each == first]
        count = Counter(captions[place] for place in members if captions[place])
        if count:
            best = min(count, key=lambda text: (-count[text], captions.index_in(members, text)))
            found[first] = len(members), best, captions.index_in(members, best)
    return found


class Captions(list):
    def index_in(self, members, text):
        return next(place for place in members if self[place] == text)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=40))
@settings(max_examples=80, derandomize=True, deadline=None)
def test_a_group_has_its_most_common_caption(pairs):
    firsts = []
    for place, (before, _) in enumerate(pairs):
        firsts.append(firsts[before % place] if place and before % 2 else place)
    captions = Captions(caption for _, caption in pairs)
    groups = captioned_groups(np.array(firsts, np.intp), np.array(captions, np.uint64))
    found = zip(groups.copies, groups.captions, groups.pictures, strict=True)
    told = {int(f): tuple(map(int, rest)) for f, rest in zip(groups.firsts, found, strict=True)}
    assert told == captions_of_groups(firsts, captions)
    picked = choices(groups, {"random": drawn(groups, 0, 99)})
    assert len(picked) == len({caption for _, caption, _ in told.values()})


def test_a_caption_of_several_groups_is_one_prompt_with_the_most_copies(tmp_path):
    first, second, third = drawings(3, 9)
    made = [first, first, second, second, second, third]
    path = write_parquet(tmp_path / "t.parquet", [data_of(p) for p in made], caption=["x"] * 6)
    [found], summary = choose(path, most_duplicated=3, random=3)
    assert (found.copies, found.training_id) == (3, "t.parquet#2")
    assert found.why == "most-duplicated+random"
    assert [each.prompts for each in summary.chosen] == [1, 1]


def test_copies_are_those_of_the_most_copied_picture_whatever_the_reason(tmp_path):
    alone, often = np.zeros((64, 64, 3), np.uint8), drawings(1, 9)[0]
    made = [alone, often, often, often]
    path = write_parquet(tmp_path / "t.parquet", [data_of(p) for p in made], caption=["x"] * 4)
    [outlier], _ = choose(path, outliers=1)
    [drawn], _ = choose(path, random=1)
    assert {outlier.copies, drawn.copies} == {3}


def write_folder(folder, made, captions, kind):
    folder.mkdir()
    for number, picture in enumerate(made):
        (folder / f"{number}.png").write_bytes(data_of(picture))
        if kind == "txt" and captions[number]:
            (folder / f"{number}.txt").write_text(captions[number])
    rows = [(f"{number}.png", text) for number, text in enumerate(captions) if text]
    if kind == "csv":
        with (folder / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file_name", "text"), *rows])
    if kind == "jsonl":
        lines = [json.dumps({"file_name": name, "text": text}) for name, text in rows]
        (folder / "metadata.jsonl").write_text("\n".join(lines))


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl", "tar", "parquets"])
def test_every_form_of_training_set_gives_the_same_prompts(
    tmp_path, pictures, parquet, kind, monkeypatch
):
    made, captions = pictures
    folder = tmp_path / "set"
    if kind == "tar":
        named = [(f"{n:02}.png", data_of(picture)) for n, picture in enumerate(made)]
        texts = [(f"{n:02}.txt", text.encode()) for n, text in enumerate(captions) if text]
        write_tar(folder / "a.tar", sorted([*named, *texts]))
    elif kind == "parquets":
        for n in range(4):
            files = [data_of(picture) for picture in made[2 * n : 2 * n + 2]]
            write_parquet(folder / f"{n}.parquet", files, caption=captions[2 * n : 2 * n + 2])
    else:
        write_folder(folder, made, captions, kind)
    asked = {"most_duplicated": 2, "outliers": 2, "random": 2}
    assert rows_of(choose(folder, **asked)[0]) == rows_of(choose(parquet, **asked)[0])


def test_mirror_images_are_copies_if_that_is_asked_for(tmp_path):
    [picture] = drawings(1, 4)
    files = [data_of(picture), data_of(picture[:, ::-1])]
    path = write_parquet(tmp_path / "t.parquet", files, caption=["left", "right"])
    assert choose(path, random=9)[1].distinct == 2
    assert choose(path, random=9, flip=True)[1].distinct == 1


def test_pictures_of_every_mode_are_compared_as_they_look(tmp_path):
    [picture] = drawings(1, 4)
    shown = Image.fromarray(picture)
    grey = shown.convert("L")
    files = [
        *(data_of(shown, "TIFF"), data_of(shown.convert("RGBA"))),
        *(data_of(grey), data_of(grey.convert("I;16").point(lambda level: level * 256))),
        *(data_of(grey.convert("LA")), data_of(grey.convert("1").convert("RGB"))),
    ]
    path = write_parquet(tmp_path / "t.parquet", files, caption=[*"aabbbc"])
    prompts, summary = choose(path, most_duplicated=9)
    assert rows_of(prompts) == [("b", 3, "most-duplicated"), ("a", 2, "most-duplicated")]
    assert summary.unreadable == 0


def test_a_set_full_of_blank_pages_is_a_few_groups(tmp_path):
    rng = np.random.default_rng(0)
    white = [np.full((16, 16, 3), 255, np.uint8) - rng.integers(0, 3, (16, 16, 1), np.uint8)]
    pages = [white[0] - rng.integers(0, 2, (16, 16, 1), np.uint8) for _ in range(300)]
    colours = [np.full((16, 16, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(40)]
    files = [data_of(page) for page in [*pages, *colours]]
    captions = ["a page"] * 300 + [f"colour {n}" for n in range(40)]
    path = write_parquet(tmp_path / "t.parquet", files, 100, caption=captions)
    prompts, summary = choose(path, most_duplicated=1, random=5)
    assert (prompts[0].prompt, prompts[0].copies) == ("a page", 300)
    assert 30 < summary.distinct <= 41


def test_what_cannot_be_read_or_be_a_prompt_is_counted_and_said(tmp_path):
    made = drawings(4, 2)
    files = [*(data_of(picture) for picture in made), b"no picture"]
    captions = ["fine", "nul \0 in it", "  ", "fine", "unread"]
    path = write_parquet(tmp_path / "t.parquet", files, caption=captions)
    prompts, summary = choose(path, random=9)
    assert [each.prompt for each in prompts] == ["fine"]
    assert (summary.unreadable, summary.without_caption, summary.unfit) == (1, 1, 1)
    assert "a NUL or over a million characters: 1." in " ".join(summary.notes)
    assert "t.parquet#4" in summary.notes[0]


def test_one_caption_that_cannot_be_read_costs_no_other(tmp_path):
    made, folder = drawings(6, 2), tmp_path / "set"
    rows = [{"file_name": f"{n}.png", "text": f"text {n}"} for n in (0, 1)]
    lines = [json.dumps(rows[0]), "{broken", "[1]", json.dumps(rows[1])]
    write_folder(folder, made[:4], [None] * 4, "txt")
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    (folder / "2.txt").write_bytes(b"\xff\xfe")
    latin = "file_name,text\n3.png,caf\xe9\n"
    (folder / "metadata.csv").write_text(latin, encoding="latin-1")
    named = [("0.png", data_of(made[4])), ("0.txt", b"\xff"), ("1.png", data_of(made[5]))]
    write_tar(folder / "t.tar", [*named, ("1.txt", b" in a tar\n")])
    prompts, summary = choose(folder, random=9)
    assert {each.prompt for each in prompts} == {"text 0", "text 1", "in a tar"}
    assert (summary.without_caption, summary.unfit) == (3, 0)


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """Options of a tiny model, and a set of a picture, another, and the first one moved."""
    need_embeddings()
    monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(slices, "SLICE_PICTURES", 2)
    one, two = (drawings(9, 3)[place] for place in (3, 1))
    made = [one, two, np.roll(one, (3, 3), (0, 1)), np.roll(two, (3, 3), (0, 1)), two]
    files = [*map(data_of, made[:3]), b"none", *map(data_of, made[3:])]
    path = write_parquet(tmp_path / "t.parquet", files, 2, caption=[*"abaabb"])
    return path, open_embedding(write_model(tmp_path / "m.onnx", toml=f"{TOML}alike = 0.7\n"))


def choose_embedded(path, model, **asked):
    return choose_prompts(SelectionOptions(path, **asked), Here(), quiet, model)


@pytest.mark.parametrize("flip", [False, True])
def test_an_embedding_proposes_copies_that_forms_alone_miss(embedded, flip):
    path, model = embedded
    alone, _ = choose(path, most_duplicated=9, flip=flip)
    assert rows_of(alone) == [("b", 2, "most-duplicated")]
    prompts, summary = choose_embedded(path, model, most_duplicated=9, flip=flip)
    assert rows_of(prompts) == [("b", 3, "most-duplicated"), ("a", 2, "most-duplicated")]
    assert (summary.distinct, summary.unreadable) == (2, 1)
    assert list((path.parent / "cache" / "selection").iterdir()) == []


def test_an_embedding_joins_nothing_that_is_no_copy_by_its_pixels(tmp_path, embedded):
    _, model = embedded
    settings = model.settings.model_copy(update={"alike": 0.01})
    blind = model.model_copy(update={"settings": settings})
    made = drawings(24, 4)
    captions = [f"caption {number}" for number in range(24)]
    files = [data_of(picture) for picture in made]
    path = write_parquet(tmp_path / "s.parquet", files, caption=captions)
    assert choose_embedded(path, blind, random=1)[1].distinct == 24


def test_an_embedding_tells_outliers(tmp_path, embedded):
    _, model = embedded
    [base] = drawings(1, 2, 32)
    rng = np.random.default_rng(0)
    alike = [np.roll(base, shift, (0, 1)) for shift in rng.integers(32, size=(9, 2))]
    files = [data_of(picture) for picture in [*alike, 255 - base]]
    path = write_parquet(tmp_path / "o.parquet", files, caption=[*map(str, range(9)), "odd"])
    prompts, summary = choose_embedded(path, model, outliers=2)
    vectors = model.embed(np.stack([*alike, 255 - base])).astype(float)
    apart = np.sqrt(np.square(vectors[:, None] - vectors).sum(axis=2)).sum(axis=1)
    assert prompts[0].prompt == [*map(str, range(9)), "odd"][apart.argmax()]
    assert not any("finite" in note for note in summary.notes)


def test_pictures_without_a_vector_are_counted_and_said(tmp_path, embedded):
    nodes = ("Log", ["x"], ["l"], {}), ("Flatten", ["l"], ["y"], {})
    toml = "size = 32\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n"
    model = open_embedding(write_model(tmp_path / "n.onnx", toml=toml, nodes=nodes))
    made = [np.zeros((32, 32, 3), np.uint8), *np.maximum(drawings(3, 1, 32), 1)]
    files = [data_of(picture) for picture in made]
    path = write_parquet(tmp_path / "n.parquet", files, caption=[*"abcd"])
    prompts, summary = choose_embedded(path, model, outliers=4)
    assert prompts[-1].prompt == "a"
    assert "gave no finite numbers for, which are no outliers: 1." in " ".join(summary.notes)


class TestWhatIsRefused:
    def test_a_set_that_changes_while_it_is_embedded(self, embedded):
        path, model = embedded
        [part, *_] = open_set(path).slices
        settings = Verification(training_set=str(path))
        with pytest.raises(TrainingSetError, match="changed while it was read; run this again"):
            slice_description._embedded(part, settings, model, [0, 1, 2])

    def test_nothing_to_choose(self, parquet):
        with pytest.raises(ConfigError, match="--most-duplicated N, --outliers N or --random N"):
            select_prompts(SelectionOptions(parquet), Actors(), quiet)

    def test_no_training_set(self, tmp_path):
        with pytest.raises(ConfigError, match="away cannot be read"):
            select_prompts(SelectionOptions(tmp_path / "away", random=1), Actors(), quiet)

    def test_a_set_without_captions(self, tmp_path):
        path = write_parquet(tmp_path / "t.parquet", [data_of(p) for p in drawings(2, 1)])
        with pytest.raises(ConfigError, match=r"None of the 2 pictures of .* has a caption"):
            choose(path, random=1)

    def test_an_array_has_no_captions_and_is_not_read_for_them(self, tmp_path):
        np.save(tmp_path / "a.npy", drawings(2, 1))
        with pytest.raises(ConfigError, match=r"No picture in an array of .* has a caption"):
            choose(tmp_path / "a.npy", None, random=1)

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(ConfigError, match="there is no picture in it"):
            choose(tmp_path, random=1)

    def test_a_set_that_cannot_be_read_at_all(self, tmp_path):
        path = write_parquet(tmp_path / "t.parquet", [b"none"], caption=["text"])
        with pytest.raises(TrainingSetError, match="None of 1 pictures"):
            choose(path, random=1)

    def test_a_cache_without_room(self, parquet, monkeypatch, tmp_path):
        (tmp_path / "file").touch()
        monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(tmp_path / "file"))
        with pytest.raises(ConfigError, match="set SEEDSWEEP_CACHE_DIR to a folder"):
            choose(parquet, random=1)

    def test_a_set_that_changes_meanwhile(self, parquet):
        class Changing(Here):
            def names(self, slices, places):
                pq.write_table(pq.read_table(parquet).slice(0, 1), parquet)
                yield from ()

        with pytest.raises(TrainingSetError, match="changed while it was read"):
            choose(parquet, Changing(), random=1)

    @pytest.mark.parametrize(
        ("name", "why"),
        [("there.csv", "is there already"), ("p.txt", "of no kind"), ("no/p.csv", "be written")],
    )
    def test_an_output_that_cannot_be(self, tmp_path, name, why):
        (tmp_path / "there.csv").touch()
        with pytest.raises(ConfigError, match=why):
            refuse_output(tmp_path / name)
        assert [file.name for file in tmp_path.iterdir()] == ["there.csv"]


texts = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=30
).filter(str.strip)


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
@given(prompts=st.lists(texts.map(str.strip), min_size=1, max_size=6, unique=True))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_a_campaign_reads_what_is_written(tmp_path_factory, kind, prompts):
    prompts = [*prompts, 'a "quoted", text\nover, two\r\nlines\rand more', "=1+1", "ein <b>Ö</b>"]
    file = tmp_path_factory.mktemp("out") / f"p{kind}"
    write_prompts([ChosenPrompt(text, 2, f"t.parquet#{text}", "random") for text in prompts], file)
    read = list(read_prompts(PromptList(file=str(file), column="prompt")))
    assert read == list(dict.fromkeys(prompts))
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_the_columns_are_those_that_are_promised(tmp_path):
    chosen = [ChosenPrompt("a", 2, "t#1", "random")]
    for kind in (".csv", ".jsonl", ".parquet"):
        write_prompts(chosen, tmp_path / f"p{kind}")
    with (tmp_path / "p.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [list(COLUMNS), ["a", "2", "t#1", "random"]]
    row = {"prompt": "a", "copies": 2, "training_id": "t#1", "why": "random"}
    assert json.loads((tmp_path / "p.jsonl").read_text()) == row
    assert pq.read_table(tmp_path / "p.parquet").to_pylist() == [row]
    assert pq.read_schema(tmp_path / "p.parquet").field("copies").type == pa.int64()
    assert selection.SelectionSummary.__doc__
    assert Path(tmp_path / "p.csv").stat().st_size > 0
