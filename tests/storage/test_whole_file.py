import stat

import pytest

from seedsweep.storage.whole_file import write_whole


def mode_of(file):
    return stat.S_IMODE(file.stat().st_mode)


def test_the_new_text_is_in_place_of_the_old_and_nothing_is_left_beside_it(tmp_path):
    file = tmp_path / "page.html"
    (tmp_path / ".page.html.writing").write_text("what a killed writer left, longer than the rest")
    for text in ("a long first version é", "second"):
        write_whole(file, text)
        assert file.read_text(encoding="utf-8") == text
    assert [*tmp_path.iterdir()] == [file]


def test_only_its_owner_reads_a_private_file_whatever_was_there(tmp_path):
    file, other = tmp_path / "secrets", tmp_path / "page.html"
    for beside in (file, tmp_path / ".secrets.writing"):
        beside.write_text("")
        beside.chmod(0o666)
    write_whole(file, "secret", private=True)
    write_whole(other, "page")
    (tmp_path / "plain").write_text("")
    assert mode_of(file) == 0o600
    assert mode_of(other) == mode_of(tmp_path / "plain")


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path):
    file = tmp_path / "page.html"
    write_whole(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "new \ud800")
    assert file.read_text() == "old"
