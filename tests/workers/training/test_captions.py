"""The captions of a training set, of every form that has some."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.training import slices
from seedsweep.workers.training.captions import training_captions
from tests.support.pictures import write_tar


def captions_of(path):
    return list(training_captions(Verification(training_set=str(path))))


def test_captions_of_every_form_are_yielded_and_no_picture_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "SLICE_PICTURES", 2)
    write_tar(tmp_path / "a.tar", [("1.jpg", b"no picture"), ("1.txt", b"of a tar\n")])
    rows = {"image": [b"none"] * 5, "text": ["one", None, "three", "", "five"]}
    pq.write_table(pa.table(rows), tmp_path / "b.parquet", row_group_size=2)
    (tmp_path / "c.png").write_bytes(b"none")
    (tmp_path / "c.txt").write_text("beside")
    (tmp_path / "d.png").write_bytes(b"none")
    assert captions_of(tmp_path) == ["of a tar", "one", "three", "", "five", "beside"]


def test_what_is_damaged_hides_no_other_caption(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"broken")
    (tmp_path / "b.parquet").write_bytes(b"PAR1broken")
    (tmp_path / "c.png").write_bytes(b"")
    (tmp_path / "c.txt").write_text("whole")
    assert captions_of(tmp_path) == ["whole"]


def test_no_training_set_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        captions_of(tmp_path / "gone")
