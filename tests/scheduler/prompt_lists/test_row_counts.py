import json

import pytest

from tests.support.prompt_lists import (
    TABLES,
    count,
    write,
    write_csv,
    write_jsonl,
    write_kind,
    write_parquet,
)


@pytest.mark.parametrize("kind", TABLES)
def test_rows_without_a_text_are_skipped_and_counted_in_every_format_alike(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    how = write_kind(path, kind, ["a", None, " ", "b", None, "a"])
    prompts, rows = count(path, **how)
    assert prompts == ["a", "b"]
    assert (rows.read, rows.null, rows.blank, rows.repeated) == (6, 2, 1, 1)
    assert str(rows) == "6 read; skipped 2 without a text, 1 blank, 1 repeated"


@pytest.mark.parametrize("first", [True, False])
def test_an_object_without_the_key_has_no_text(tmp_path, first):
    values = [{"text": "a"}, {"n": 1}] if first else [{"n": 1}, {"text": "a"}]
    for path in (
        write_jsonl(tmp_path / "a.jsonl", values),
        write(tmp_path / "a.json", json.dumps(values)),
    ):
        prompts, rows = count(path, column="text")
        assert prompts == ["a"]
        assert rows.null == 1


def test_a_text_with_half_a_character_is_left_out_and_counted(tmp_path):
    prompts, rows = count(write(tmp_path / "a.jsonl", '"a \\ud83d"\n"b"\n'))
    assert prompts == ["b"]
    assert rows.broken == 1
    assert "1 with half a character" in str(rows)


def test_control_characters_are_counted_and_stay_and_tabs_and_ends_of_lines_are_none(tmp_path):
    texts = ["a \x1b[31mcat", "a\tb\nc\r\nd", "an \x85owl", "\x0ba dog\x0c"]
    prompts, rows = count(write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts]))
    assert prompts == [text.strip() for text in texts]
    assert rows.remarks == [
        "Control characters, which no one sees, stand in 2 prompts; the model is given them as "
        "they are."
    ]


def test_control_characters_of_negative_prompts_are_counted_too(tmp_path):
    path = write_jsonl(
        tmp_path / "a.jsonl", [{"text": "a", "not": "b\x7f"}, {"text": "c\x07", "not": ""}]
    )
    columns = {"negative_prompt": "not"}
    _, rows = count(path, column="text", settings=columns)
    assert rows.controls == {"prompt": 1, "negative prompt": 1}
    assert "stand in 1 negative prompt, 1 prompt;" in rows.remarks[0]


def test_a_column_of_numbers_is_said_to_be_one(tmp_path):
    for text, is_said in (("1\n2\n3\n", True), ("1\n2\na 3\n", False), ("1\n", False)):
        _, rows = count(write(tmp_path / "a.txt", text))
        assert ("All prompts are numbers" in " ".join(rows.remarks)) == is_said


def test_prompts_that_only_encode_accents_otherwise_are_two_and_it_is_said(tmp_path):
    for texts in (["caf\u00e9", "cafe\u0301"], ["cafe\u0301", "caf\u00e9"]):
        prompts, rows = count(write(tmp_path / "a.txt", "\n".join(texts)))
        assert prompts == texts
        assert rows.alike == 1
        assert "how accents are encoded" in rows.remarks[0]


@pytest.mark.parametrize(
    ("columns", "unused"),
    [
        (["text", "seed", "Guidance Scale", "cfgScale", "url"], "seed, Guidance Scale, cfgScale"),
        (["text", "negative_prompt", "WIDTH", "height"], "negative_prompt, WIDTH, height"),
        (["steps", "text", "num_inference_steps"], "steps, num_inference_steps"),
        (["text", "type", "mean_sscd", "URL", "Index"], ""),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_that_look_like_settings_are_named(tmp_path, kind, columns, unused):
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        write_csv(path, [columns, ["x"] * len(columns)])
    elif kind == "jsonl":
        write_jsonl(path, [{"text": "x"}, dict.fromkeys(columns, "x")])
    else:
        write_parquet(path, **{name: ["x"] for name in columns})
    _, rows = count(path, column="text")
    assert ", ".join(rows.unused) == unused
    assert [unused in remark for remark in rows.remarks] == ([True] if unused else [])


def test_the_column_of_the_prompts_is_no_setting_that_is_not_used(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["text", "negative_prompt"], ["a", "b"]])
    assert count(path, column="negative_prompt")[1].unused == []


def test_a_prompt_of_several_lines_is_named_since_a_quote_may_have_opened_by_mistake(tmp_path):
    path = write(tmp_path / "a.tsv", 'url\ttext\n1\t"wild\n2\tb\n3\tend"\n4\tc\n')
    prompts, rows = count(path, column="text")
    assert prompts == ["wild\n2\tb\n3\tend", "c"]
    assert rows.remarks[0].startswith(f"Line 2 of {path} begins a prompt of 3 lines")
    prompts, rows = count(path, column="text", quoting="none")
    assert prompts == ['"wild', "b", 'end"', "c"]
    assert rows.remarks == []


def test_a_first_line_that_looks_like_a_prompt_is_told(tmp_path):
    path = write(tmp_path / "a.csv", "a green lawn\na hill\n")
    prompts, rows = count(path)
    assert prompts == ["a hill"]
    assert rows.remarks[0].startswith("'a green lawn' was taken for the name")
    assert count(path, header=False)[0] == ["a green lawn", "a hill"]
    assert count(path, header=False)[1].remarks == []
