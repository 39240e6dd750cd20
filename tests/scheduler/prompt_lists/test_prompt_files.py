import gzip
import json
import os

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedsweep.scheduler.prompt_lists.prompt_files import read_prompts
from seedsweep.storage.settings.sampling import PromptList
from tests.support.checkout import ROOT
from tests.support.prompt_lists import (
    PLAIN,
    count,
    read,
    refused,
    write,
    write_csv,
    write_jsonl,
    write_kind,
    write_parquet,
)

LISTS = ROOT.parent / "shared/data/prompts"
UNTIDY = [
    'he said "hi", twice',
    "<b>bold &amp; <i>both</i></b>",
    "Zoë à Besançon — 日本",
    "two\nlines, one cell",
    "semi;colon",
    "plain",
]


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


PACKED = tuple(f"{kind}.gz" for kind in PLAIN[:-1])


@pytest.fixture(params=[*PLAIN, *PACKED])
def file_of(request, tmp_path):
    """Write texts to a file of one kind: its path and the settings to read it with."""

    def write_file(texts):
        path = tmp_path / f"prompts.{request.param}"
        how = write_kind(path, request.param.removesuffix(".gz"), texts)
        if request.param in PACKED:
            path.write_bytes(gzip.compress(path.read_bytes()))
        return path, how

    return write_file


def test_every_kind_of_file_gives_the_same_prompts(file_of):
    path, how = file_of(["", "  b ", "a", "   ", "b", "<i>é</i>", 'a "q"', "a", ""])
    assert read(path, **how) == ["b", "a", "<i>é</i>", 'a "q"']


def test_quotes_html_accents_and_line_breaks_stay_as_they_stand(file_of):
    path, how = file_of(UNTIDY)
    if ".txt" in path.name:
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


def test_a_table_without_a_header_has_numbered_columns(tmp_path):
    path = write(tmp_path / "a.tsv", "a lawn\thttps://one\na hill\thttps://two\n")
    assert read(path, header=False, column="1") == ["a lawn", "a hill"]
    message = refused(path)
    assert "no `column` is set; set it to one of ['a lawn', 'https://one']" in message
    assert "`header = false`" in message


@pytest.mark.parametrize("between", [";", "\t", "|", ","])
def test_one_column_that_looks_like_several_is_refused(tmp_path, between):
    path = write(tmp_path / "a.csv", f"id{between}text\n1{between}a\n")
    delimiter = ";" if between == "," else ","
    assert "`delimiter`" in refused(path, delimiter=delimiter)
    assert read(path, delimiter=delimiter, column=f"id{between}text") == [f"1{between}a"]


def test_a_tab_stands_between_the_cells_of_a_tsv_unless_set(tmp_path):
    path = tmp_path / "a.TSV"
    assert read(write(path, "id\ttext\n1\ta, b\n"), column="text") == ["a, b"]
    assert read(write(path, "id;text\n1;a\n"), column="text", delimiter=";") == ["a"]
    assert PromptList(file="a.tsv.gz").delimiter == "\t"
    assert PromptList(file="a.csv").delimiter == ","


TEXT_COLUMNS = {
    "string": pa.string(),
    "large_string": pa.large_string(),
    "string_view": pa.string_view(),
    "binary": pa.binary(),
    "large_binary": pa.large_binary(),
    "dictionary": pa.dictionary(pa.int8(), pa.string()),
    "dictionary of large": pa.dictionary(pa.int32(), pa.large_string()),
}


@pytest.mark.parametrize("kind", TEXT_COLUMNS.values(), ids=TEXT_COLUMNS)
def test_text_is_read_however_parquet_keeps_it(tmp_path, kind):
    values = ["b", None, "Zoë", "b"]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = [value and value.encode() for value in values]
    texts = pa.array(values[:3] + values[:1]) if pa.types.is_dictionary(kind) else None
    column = pa.array(values, kind) if texts is None else texts.cast(kind)
    prompts, rows = count(write_parquet(tmp_path / "a.parquet", text=column))
    assert prompts == ["b", "Zoë"]
    assert (rows.null, rows.repeated) == (1, 1)


def test_bytes_of_parquet_that_are_no_text_are_refused(tmp_path):
    column = pa.array([b"Zo\xeb"], pa.binary())
    assert "UTF8" in refused(write_parquet(tmp_path / "a.parquet", text=column))


@pytest.fixture
def folder(tmp_path):
    """A folder of files of several kinds, and a hidden one of none."""
    folder = tmp_path / "run[1]" / "parts"
    folder.mkdir(parents=True)
    write_parquet(folder / "part-2.parquet", text=["c", "a"])
    write_csv(folder / "part-1.csv", [["text"], ["b"]])
    write_jsonl(folder / "part-0.jsonl", [{"text": "a"}])
    write(folder / "_SUCCESS", "")
    write(folder / ".part-0.jsonl.crc", "")
    return folder


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(folder):
    prompts, rows = count(folder, column="text")
    assert prompts == ["a", "b", "c"]
    assert (rows.read, rows.repeated) == (4, 1)


def test_a_glob_chooses_files(folder):
    assert read(folder / "*.[cp]*", column="text") == ["b", "c", "a"]
    assert read(folder.parent / "**" / "part-?.jsonl", column="text") == ["a"]
    assert "there is no such file" in refused(folder / "*.txt")


def test_a_name_that_looks_like_a_glob_is_a_file_if_it_is_there(tmp_path):
    write(tmp_path / "a.txt", "the glob's")
    assert read(write(tmp_path / "[a].txt", "the file's")) == ["the file's"]


def test_a_folder_that_holds_anything_else_is_refused(folder):
    write(folder / "notes.md", "read me")
    message = refused(folder, column="text")
    assert str(folder / "notes.md") in message
    assert "name those of a folder as folder/*.csv" in message


def test_the_limit_spares_the_files_behind_it(folder):
    (folder / "part-2.parquet").write_bytes(b"cut")
    assert read(folder, column="text", limit=2) == ["a", "b"]
    assert "part-2.parquet cannot be read" in refused(folder, column="text")


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


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.parquet.gz", "a.gz"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    message = refused(write(tmp_path / name, "a"))
    assert ".txt, .csv, .tsv, .jsonl, .json, .parquet, all but the last also as .gz" in message


@pytest.mark.parametrize("column", [None, "text"])
@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_an_empty_csv_file_is_refused_as_such(tmp_path, text, column):
    message = refused(write(tmp_path / "a.csv", text), column=column)
    assert "cannot be read (there is no column in it)" in message


@pytest.mark.parametrize(
    "value",
    [
        *(
            "{",
            "a prompt",
            "12",
            '["a"]',
            '{"text": 3}',
            '"\\u0000"',
            "[" * 9**6,
            "9" * 5000,
            "NaN",
        ),
        *(f'{{"text": {"[" * depth + "]" * depth}}}' for depth in (1, 150)),
    ],
    ids=lambda value: value[:20],
)
def test_bad_json_is_refused_by_its_number(tmp_path, value):
    path = write(tmp_path / "a.jsonl", f'"fine"\n\n{value}\n')
    assert refused(path, column="text").startswith("Line 3 of ")
    path = write(tmp_path / "a.json", f'["fine", null, {value}]')
    assert refused(path, column="text").startswith("Item 3 of ")


@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_a_key_that_no_object_has_is_refused(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    write_kind(path, kind, ["a", "b"])
    assert "there is no column 'Text'; set it to one of ['text']" in refused(path, column="Text")
    assert read(path) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no array"),
        ('{"text": "a"}', "holds no array"),
        ("[", "Item 1 of"),
        ('["a"', "After item 1 of"),
        ('["a" "b"]', "After item 1 of"),
        ('["a",]', "Item 2 of"),
        ('["a"] ["b"]', "More than an array"),
        ('["a', "Item 1 of"),
    ],
)
def test_what_is_no_array_of_json_is_refused(tmp_path, text, says):
    assert says in refused(write(tmp_path / "a.json", text))


def test_an_array_of_json_is_read_piece_by_piece(tmp_path):
    texts = [f"{i} é" + "x" * (i % 977) for i in range(2000)]
    assert read(write(tmp_path / "a.json", json.dumps(texts))) == texts
    assert read(write(tmp_path / "a.json", " [ ] \n")) == []
    prompts = read_prompts(PromptList(file=str(write(tmp_path / "b.json", '["a", oops'))))
    assert next(prompts) == "a"


@pytest.mark.parametrize(
    ("text", "form", "says"),
    [
        ('url\ttext\n1\ta\n2\t"wild\n3\tb\n', {"delimiter": "\t"}, "Line 3 of"),
        ('url\ttext\n1\ta\n2\t"wild\n3\tb" c\n', {"delimiter": "\t"}, "Line 3 of"),
        ('text,n\n"a"b,1\n', {}, "Line 2 of"),
        ("index,text,url\n0,a chair, a table,https://one\n", {}, "Line 2 of"),
        ('index,text\n0,"a\nb"\n1\n', {}, "Line 4 of"),
        ("text,n\na\0b,1\n", {}, "Line 2 of"),
        ("text,n\na,\0\n", {}, "Line 2 of"),
        ("text,text\na,b\n", {}, "several columns are called 'text'"),
        ("text,n\na,1\n", {"delimiter": '"'}, "cannot stand between cells"),
    ],
)
def test_a_csv_is_read_strictly(tmp_path, text, form, says):
    message = refused(write(tmp_path / "a.csv", text), column="text", **form)
    assert says in message


def test_empty_lines_of_a_csv_are_blank_rows(tmp_path):
    prompts, rows = count(write(tmp_path / "a.csv", "id,text\n\n1,a\n\n"), column="text")
    assert prompts == ["a"]
    assert (rows.read, rows.blank) == (3, 2)


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv"])
def test_a_nul_is_refused_by_its_line(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", '"a"\n"b\0"\n')
    assert f"Line 2 of {path} holds a NUL" in refused(path)


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_a_nul_is_refused_by_its_row(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    write_kind(path, kind, ["a", "b\0"])
    assert " 2 of the prompts file" in refused(path)


class TestWhatIsTooLarge:
    @pytest.mark.parametrize("kind", [*PLAIN, "csv.gz", "json.gz"])
    def test_a_text_is_refused_with_the_limit(self, tmp_path, kind, monkeypatch):
        for module in ("tables", "json_values", "text_files"):
            name = f"seedsweep.scheduler.prompt_lists.{module}.FIELD_CHARACTERS"
            monkeypatch.setattr(name, 100_000)
        path = tmp_path / f"a.{kind}"
        how = write_kind(path, kind.removesuffix(".gz"), ["fine", "x" * 300_000])
        if kind.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
        assert "more than 100,000 characters" in refused(path, **how)

    def test_a_cell_of_many_lines_is_refused_too(self, tmp_path, monkeypatch):
        monkeypatch.setattr("seedsweep.scheduler.prompt_lists.tables.FIELD_CHARACTERS", 1000)
        path = write(tmp_path / "a.csv", 'text\na\n"' + "b\n" * 1000 + '"\n')
        assert "Line 3 of" in refused(path)
        assert "1000" in refused(path)

    @pytest.mark.parametrize("kind", [*PLAIN[:-1], *PACKED])
    def test_a_file_is_refused_with_the_limit(self, tmp_path, kind, monkeypatch):
        for module in ("json_values", "text_files"):
            monkeypatch.setattr(f"seedsweep.scheduler.prompt_lists.{module}.FILE_BYTES", 200_000)
        path = tmp_path / f"a.{kind}"
        texts = [f"{number}" * 20 for number in range(5000)]
        how = write_kind(path, kind.removesuffix(".gz"), texts)
        if kind.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
        assert "more than 0.0002 GB" in refused(path, **how)


@pytest.mark.parametrize("cut", [0, 5, 20, -1])
def test_a_packed_file_that_was_cut_is_refused(tmp_path, cut):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(os.urandom(500).hex().encode())[:cut] or b"no gzip")
    assert "cannot be read" in refused(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    assert "cannot be read" in refused(tmp_path / "a.txt")


def test_a_parquet_column_that_holds_no_text_is_refused(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", text=[1, 2])
    assert "Row 1 of the prompts file" in refused(path, column="text")


def test_a_file_that_only_calls_itself_parquet_is_refused(tmp_path):
    assert "cannot be read" in refused(write(tmp_path / "a.parquet", "a\nb\n"))
