import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedsweep.audit.findings.copies_file import read_copies
from seedsweep.scheduler.prompt_lists.tables import Form
from seedsweep.storage.errors import ConfigError


class TestReading:
    def test_a_prompt_of_several_pictures_has_the_copies_of_its_most_copied(self, tmp_path):
        path = tmp_path / "train.parquet"
        table = pa.table({"caption": ["a", " a ", "b", "", None], "copies": [1, 7, 2, 3, 4]})
        pq.write_table(table, path)
        assert read_copies(path, ["caption"]) == {"a": 7, "b": 2}

    def test_the_campaigns_delimiter_is_used(self, tmp_path):
        path = tmp_path / "copies.csv"
        path.write_text("Caption;copies\na, b;3\n")
        assert read_copies(path, ["Caption"], Form(";")) == {"a, b": 3}

    @pytest.mark.parametrize("value", ["-1", "2.5", "many", ""])
    def test_what_is_no_count_is_refused_with_its_row(self, tmp_path, value):
        path = tmp_path / "copies.csv"
        path.write_text(f"prompt,copies\na,1\nb,{value}\n")
        with pytest.raises(ConfigError, match=r"Line 3 of .*copies\.csv"):
            read_copies(path, ["prompt"])

    @pytest.mark.parametrize(
        ("name", "text", "says"),
        [
            ("copies.txt", "a", "no known kind"),
            ("missing.csv", None, "cannot be read"),
            ("copies.csv", "caption,copies\na,1", "--column"),
            ("copies.csv", "prompt,count\na,1", "has no column 'copies'"),
            ("copies.parquet", "no parquet", "cannot be read"),
        ],
    )
    def test_other_files_are_refused(self, tmp_path, name, text, says):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError, match=re.escape(says)):
            read_copies(tmp_path / name, ["prompt"])
