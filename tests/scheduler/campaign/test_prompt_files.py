import csv
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedsweep.scheduler.campaign.prompt_files import read_prompts
from seedsweep.storage.errors import ConfigError
from seedsweep.storage.records import PromptList
from tests.support.checkout import ROOT

LISTS = ROOT.parent / "shared/data/prompts"
UNTIDY = [
    'he said "hi", twice',
    "<b>bold &amp; <i>both</i></b>",
    "Zoë à Besançon — 日本",
    "two\nlines, one cell",
    "semi;colon",
    "plain",
]


def read(path, **changes):
    return list(read_prompts(PromptList(file=str(path), **changes)))


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def write_csv(path, rows, delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def write_jsonl(path, values):
    return write(path, "".join(json.dumps(value) + "\n" for value in values))


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def refused(path, **changes):
    """The one sentence with which the file is refused."""
    with pytest.raises(ConfigError) as caught:
        read(path, **changes)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


@pytest.mark.skipif(not LISTS.is_dir(), reason=f"{LISTS} is not there")
@pytest.mark.parametrize(
    ("name", "rows", "distinct"),
    [
        ("memorized_laion_prompts.csv", 500, 500),
        ("unmemorized_laion_prompts.csv", 500, 500),
        ("coco2014_val_10000.csv", 10_000, 9_966),
    ],
)
def test_a_real_list_is_read_in_its_order_without_blanks_and_repeats(name, rows, distinct):
    captions = pd.read_csv(LISTS / name, sep=";", keep_default_na=False)["Caption"]
    expected = [text for text in captions.str.strip().drop_duplicates() if text]
    assert len(captions) == rows
    assert len(expected) == distinct
    assert read(LISTS / name, column="Caption", delimiter=";") == expected


@pytest.fixture(params=["txt", "csv", "jsonl", "parquet"])
def file_of(request, tmp_path):
    """Write texts to a file of one kind: its path and the settings to read it with."""

    def write_file(texts):
        path = tmp_path / f"prompts.{request.param}"
        if request.param == "txt":
            return write(path, "\n".join(texts)), {}
        if request.param == "csv":
            rows = [["id", "text"], *([i, text] for i, text in enumerate(texts))]
            return write_csv(path, rows), {"column": "text"}
        if request.param == "jsonl":
            return write_jsonl(path, [{"text": text} for text in texts]), {"column": "text"}
        return write_parquet(path, text=texts), {"column": "text"}

    return write_file


def test_every_kind_of_file_gives_the_same_prompts(file_of):
    path, how = file_of(["", "  b ", "a", "   ", "b", "<i>é</i>", 'a "q"', "a", ""])
    assert read(path, **how) == ["b", "a", "<i>é</i>", 'a "q"']


def test_quotes_html_accents_and_line_breaks_stay_as_they_stand(file_of):
    path, how = file_of(UNTIDY)
    if path.suffix == ".txt":
        assert read(path, **how) == [line for text in UNTIDY for line in text.split("\n")]
    else:
        assert read(path, **how) == UNTIDY


def test_limit_counts_distinct_prompts(file_of):
    path, how = file_of(["", "a", "a", "b", "c"])
    assert read(path, limit=2, **how) == ["a", "b"]
    assert read(path, limit=99, **how) == ["a", "b", "c"]


def test_a_file_without_prompts_gives_none(file_of):
    path, how = file_of(["", "  "])
    assert read(path, **how) == []


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))))
def test_any_text_survives_but_for_the_white_space_around_it(tmp_path, texts):
    expected = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    rows = [["text", "more"], *([text, "x"] for text in texts)]
    assert read(write_csv(tmp_path / "a.csv", rows, ";"), column="text", delimiter=";") == expected
    assert read(write_jsonl(tmp_path / "a.jsonl", texts)) == expected


@pytest.mark.parametrize("name", ["a.txt", "a.TXT"])
def test_a_byte_order_mark_and_windows_line_ends_are_not_part_of_a_prompt(tmp_path, name):
    assert read(write(tmp_path / name, "a\r\nb\r\n", "utf-8-sig")) == ["a", "b"]


def test_a_byte_order_mark_is_not_part_of_a_column_or_of_json(tmp_path):
    path = write(tmp_path / "a.csv", "Caption,URL\r\na,b\r\n", "utf-8-sig")
    assert read(path, column="Caption") == ["a"]
    assert read(write(tmp_path / "a.jsonl", '"a"\n', "utf-8-sig")) == ["a"]


def test_a_cell_may_be_longer_than_the_csv_modules_own_limit(tmp_path):
    long = "word " * 50_000 + "end"
    assert read(write_csv(tmp_path / "a.csv", [["text"], [long]])) == [long]


def test_a_single_column_needs_no_name(tmp_path):
    assert read(write_csv(tmp_path / "a.csv", [["text"], ["a"]])) == ["a"]
    assert read(write_parquet(tmp_path / "a.parquet", text=["a"])) == ["a"]


def test_a_row_that_is_too_short_has_no_prompt(tmp_path):
    path = write(tmp_path / "a.csv", "id,text\n1,a\n2\n3,b,extra\n")
    assert read(path, column="text") == ["a", "b"]


def test_missing_values_are_skipped(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", text=["a", None, "b"])
    assert read(path) == ["a", "b"]


def test_jsonl_lines_are_texts_or_objects(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ["a", {"text": "b", "n": 1}])
    assert read(path, column="text") == ["a", "b"]


def test_prompts_are_streamed(tmp_path):
    path = write(tmp_path / "a.jsonl", '"a"\n"b"\nnot json\n')
    prompts = read_prompts(PromptList(file=str(path)))
    assert next(prompts) == "a"
    assert read(path, limit=2) == ["a", "b"]


def test_a_missing_column_is_refused_and_the_columns_are_named(tmp_path):
    rows = [["id", "Caption"], [1, "a"]]
    for path in (
        write_csv(tmp_path / "a.csv", rows),
        write_parquet(tmp_path / "a.parquet", id=[1], Caption=["a"]),
    ):
        message = refused(path, column="caption")
        assert "no column 'caption'" in message
        assert "['id', 'Caption']" in message
        assert "no `column` is set" in refused(path)


def test_a_wrong_delimiter_is_the_first_thing_to_suspect(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["id", "Caption"], [1, "a"]], ";")
    message = refused(path, column="Caption")
    assert "['id;Caption']" in message
    assert "`delimiter`" in message


def test_a_text_file_has_no_columns(tmp_path):
    assert "no columns" in refused(write(tmp_path / "a.txt", "a\n"), column="Caption")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_a_file_that_is_not_utf_8_is_refused(tmp_path, name):
    path = write(tmp_path / name, "text\nZoë\n", "latin-1")
    if name.endswith("jsonl"):
        path = write(path, '"Zoë"\n', "latin-1")
    assert "is not UTF-8" in refused(path)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.parquet"])
def test_a_file_that_is_not_there_is_refused_by_name(tmp_path, name):
    assert str(tmp_path / name) in refused(tmp_path / name)
    (tmp_path / name).mkdir()
    assert str(tmp_path / name) in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.csv.gz"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    assert ".txt, .csv, .jsonl, .parquet" in refused(write(tmp_path / name, "a"))


def test_an_empty_csv_file_is_refused(tmp_path):
    assert "no `column` is set" in refused(write(tmp_path / "a.csv", ""))


@pytest.mark.parametrize(
    "line",
    ["{", "a prompt", "12", "null", '["a"]', '{"text": 3}', '{"other": "a"}', '"\\ud800"'],
)
def test_a_bad_jsonl_line_is_refused_by_its_number(tmp_path, line):
    path = write(tmp_path / "a.jsonl", f'"fine"\n\n{line}\n')
    assert refused(path, column="text").startswith("Line 3 of the prompts file")


def test_a_parquet_column_that_holds_no_text_is_refused(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", text=[1, 2])
    assert "holds int64" in refused(path, column="text")


def test_a_file_that_only_calls_itself_parquet_is_refused(tmp_path):
    assert "cannot be read" in refused(write(tmp_path / "a.parquet", "a\nb\n"))
