"""Every kind of file that holds pictures, as published, cut short and harmed."""

import gzip
import io
import json
import random
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.errors import SeedsweepError, TrainingSetError
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.training import tar_file
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.picture_file import PICTURE_BYTES, NoPicturesError, picture_bytes
from seedsweep.workers.training.pictures import Reading, none_readable, read_pictures
from seedsweep.workers.training.slices import (
    UNREADABLE,
    PictureColumn,
    cut_training_set,
    look_into,
    read_captions,
    read_slice,
)
from tests.support.pictures import data_of, write_parquet, write_tar

SIDE = 4


def plain(level, kind="PNG"):
    return data_of(np.full((SIDE, SIDE, 3), level, np.uint8), kind)


def read(path, **settings):
    """The red of each picture by name, and what of the set could be read."""
    reading = Reading()
    wanted = Verification(training_set=str(path), **settings)
    met = {name: int(px[0, 0, 0]) for name, px, _ in read_pictures(wanted, SIDE, SIDE, reading)}
    column = PictureColumn.of(wanted)
    return met, reading.coverage(str(path), "", look_into(path, column).left_out)


def left_out(coverage):
    return {each.kind: each.count for each in coverage.left_out}


def captions(path, column=""):
    found = {}
    for part in cut_training_set(path, PictureColumn(column)):
        found |= read_captions(part, [name for name, _ in read_slice(part)])
    return found


def write_table(path, /, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


class TestAsPublished:
    def test_img2dataset_parquet(self, tmp_path):
        statuses = ["success", "failed_to_download", "success", "failed_to_resize"]
        path = write_table(
            tmp_path / "00000.parquet",
            url=["https://example.invalid/0.jpg"] * 4,
            caption=["a", "b", None, "d"],
            status=statuses,
            jpg=[plain(0), None, plain(2), None],
        )
        met, coverage = read(path)
        assert met == {"00000.parquet#0": 0, "00000.parquet#2": 2}
        assert (coverage.pictures, coverage.unreadable) == (2, 0)
        assert left_out(coverage) == {
            "row without a picture (failed_to_download)": 1,
            "row without a picture (failed_to_resize)": 1,
        }
        assert captions(path) == {"00000.parquet#0": "a"}
        assert read(tmp_path)[0] == met

    def test_img2dataset_webdataset(self, tmp_path):
        for shard in ("00000", "00001"):
            files = [
                (f"{shard}0.jpg", plain(7)),
                (f"{shard}0.json", b"{}"),
                (f"{shard}0.txt", b"a"),
            ]
            write_tar(tmp_path / "deep" / f"{shard}.tar", files)
            write_table(tmp_path / "deep" / f"{shard}.parquet", url=["u"], status=["success"])
            (tmp_path / "deep" / f"{shard}_stats.json").write_text("{}")
        met, coverage = read(tmp_path)
        assert met == {"deep/00000.tar#000000.jpg": 7, "deep/00001.tar#000010.jpg": 7}
        assert captions(tmp_path) == dict.fromkeys(met, "a")
        # Two statistics in the folder, and two members of tars.
        assert left_out(coverage) == {".json": 4, ".parquet without pictures": 2}

    def test_a_hugging_face_imagefolder(self, tmp_path):
        for split in ("train", "test"):
            (tmp_path / split / "cats").mkdir(parents=True)
            (tmp_path / split / "cats" / "0.png").write_bytes(plain(3))
            (tmp_path / split / "1.png").write_bytes(plain(4))
        rows = [{"file_name": "cats/0.png", "text": "zero"}, {"file_name": "1.png", "text": "one"}]
        lines = [json.dumps(row) for row in rows]
        (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(lines))
        (tmp_path / "test" / "metadata.csv").write_text("file_name,caption\n1.png,ein\n")
        met, coverage = read(tmp_path)
        names = [
            f"{split}/{name}" for split in ("test", "train") for name in ("1.png", "cats/0.png")
        ]
        assert (list(met), left_out(coverage)) == (names, {})
        assert captions(tmp_path) == {
            "train/cats/0.png": "zero",
            "train/1.png": "one",
            "test/1.png": "ein",
        }

    def test_cifar_as_parquet(self, tmp_path):
        images = [{"bytes": plain(level), "path": None} for level in (1, 2)]
        path = write_table(tmp_path / "train-00000-of-00001.parquet", img=images, label=[0, 1])
        assert list(read(path)[0].values()) == [1, 2]

    def test_rows_without_a_picture(self, tmp_path):
        images = [{"bytes": plain(1), "path": None}, None, {"bytes": None, "path": None}]
        met, coverage = read(write_table(tmp_path / "nulls.parquet", image=images))
        assert list(met) == ["nulls.parquet#0"]
        assert (coverage.pictures, left_out(coverage)) == (1, {"row without a picture": 2})

    @pytest.mark.parametrize("shape", ["strings", "structs", "dictionary"])
    def test_paths_of_pictures_beside_the_file(self, tmp_path, shape):
        (tmp_path / "pics").mkdir()
        for level in (1, 2):
            (tmp_path / "pics" / f"{level}.png").write_bytes(plain(level))
        paths = ["pics/1.png", "pics/2.png", "pics/gone.png", None]
        images = pa.array(paths)
        if shape == "structs":
            images = [p and {"bytes": None, "path": p} for p in paths]
        if shape == "dictionary":
            images = images.dictionary_encode()
        met, coverage = read(write_table(tmp_path / "paths.parquet", image=images))
        assert met == {"paths.parquet#0": 1, "paths.parquet#1": 2}
        assert (coverage.pictures, coverage.unreadable) == (3, 1)
        assert "No such file" in coverage.examples[0].reason
        assert left_out(coverage) == {"row without a picture": 1}

    def test_paths_that_begin_in_another_folder(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "1.png").write_bytes(plain(1))
        path = write_table(tmp_path / "t.parquet", path=["1.png"], id=[5])
        met, _ = read(path, column="path", folder=str(tmp_path / "elsewhere"))
        assert met == {"t.parquet#0": 1}

    def test_addresses_are_no_pictures(self, tmp_path):
        path = write_table(tmp_path / "urls.parquet", image=["https://example.invalid/0.png"])
        met, coverage = read(path)
        assert not met
        assert "https://example.invalid/0.png is an address and not a picture" in str(
            none_readable(coverage)
        )

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed, np.save])
    @pytest.mark.parametrize("shape", [(3, 4, 4, 3), (3, 4, 4), (3, 4, 4, 1)])
    def test_arrays(self, tmp_path, save, shape):
        levels = np.array([5, 6, 7], np.uint8).reshape(3, *[1] * (len(shape) - 1))
        path = tmp_path / ("a.npy" if save is np.save else "a.npz")
        save(path, np.broadcast_to(levels, shape))
        met, coverage = read(path)
        assert met == {f"{path.name}#{place}": 5 + place for place in range(3)}
        assert (coverage.pictures, read(tmp_path)[0]) == (3, met)

    def test_an_archive_of_several_arrays(self, tmp_path):
        train, test = np.full((2, 4, 4), 1, np.uint8), np.full((1, 4, 4), 2, np.uint8)
        labels = np.zeros(2, np.uint8)
        path = tmp_path / "mnist.npz"
        np.savez(path, x_train=train, y_train=labels, x_test=test)
        with pytest.raises(TrainingSetError, match=r"'x_train' and 'x_test' may both be meant"):
            cut_training_set(path)
        assert list(read(path, column="x_test")[0].values()) == [2]
        np.savez(path, arr_0=train, mu=np.zeros(2048), labels=labels)
        assert list(read(path)[0].values()) == [1, 1]

    @pytest.mark.parametrize("suffix", [".tar.gz", ".tgz"])
    def test_compressed_tars(self, tmp_path, suffix):
        tar = write_tar(tmp_path / "a.tar", [("x/0.jpg", plain(0)), ("x/0.txt", b"zero")])
        path = tmp_path / "set" / f"b{suffix}"
        path.parent.mkdir()
        path.write_bytes(gzip.compress(tar.read_bytes()))
        name = f"b{suffix}#x/0.jpg"
        assert (read(path)[0], read(path.parent)[0]) == ({name: 0}, {name: 0})
        assert captions(path) == {name: "zero"}

    @pytest.mark.parametrize("kind", ["gif", "tif", "tiff", "avif", "jfif", "webp", "ppm"])
    def test_pictures_of_every_common_kind(self, tmp_path, kind):
        names = {"tif": "TIFF", "jfif": "JPEG"}
        (tmp_path / f"a.{kind}").write_bytes(plain(200, names.get(kind, kind.upper())))
        [level] = read(tmp_path)[0].values()
        assert abs(level - 200) <= 2


class TestWhichColumn:
    @pytest.mark.parametrize(
        ("columns", "wanted", "chosen"),
        [
            (["image", "jpg", "caption"], "", "image"),
            (["jpg", "caption"], "", "jpg"),
            (["webp"], "", "webp"),
            (["image", "photo"], "photo", "photo"),
        ],
    )
    def test_it_is_the_usual_one_or_the_one_named(self, tmp_path, columns, wanted, chosen):
        values = {name: [plain(number)] for number, name in enumerate(columns)}
        met, _ = read(write_table(tmp_path / "t.parquet", **values), column=wanted)
        assert list(met.values()) == [columns.index(chosen)]

    @pytest.mark.parametrize(
        ("columns", "wanted", "said"),
        [
            ({"jpg": [b""], "png": [b""]}, "", "its columns `jpg` and `png` may all be meant; set"),
            ({"photo": [b""]}, "", r"no column `image` \(or `jpg`, .*set `column` in \[verif"),
            ({"image": [b""]}, "photo", "no column `photo` of pictures or paths; .*image: binary"),
            ({"image": [7]}, "", "no column `image` .*image: int64"),
            ({"image": [[1.5, 2]]}, "image", "no column `image` .*image: list"),
        ],
    )
    def test_what_is_not_known_is_refused_with_the_remedy(self, tmp_path, columns, wanted, said):
        path = write_table(tmp_path / "t.parquet", **columns)
        with pytest.raises(TrainingSetError, match=said):
            cut_training_set(path, PictureColumn(wanted))

    def test_two_that_may_be_meant_are_refused_in_a_folder_too(self, tmp_path):
        write_table(tmp_path / "t.parquet", jpg=[b""], png=[b""])
        (tmp_path / "a.png").write_bytes(plain(1))
        with pytest.raises(TrainingSetError, match="may all be meant"):
            cut_training_set(tmp_path)


class TestLeftOut:
    def test_every_file_of_a_folder_that_is_not_read_is_counted_by_kind(self, tmp_path):
        (tmp_path / "sub").mkdir()
        for name in ("a.json", "sub/b.json", "c.HEIC", "README", ".hidden", "d.tar.xz", "d.arrow"):
            (tmp_path / name).write_text("x")
        (tmp_path / "a.png").write_bytes(plain(1))
        (tmp_path / "a.txt").write_text("a caption")
        (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
        (tmp_path / "linked").symlink_to(tmp_path / "sub")
        np.save(tmp_path / "latents.npy", np.zeros((5, 768)))
        write_table(tmp_path / "urls.parquet", url=["u"])
        assert left_out(read(tmp_path)[1]) == {
            ".json": 2,
            ".heic": 1,
            "file without suffix": 2,
            ".xz": 1,
            ".arrow": 1,
            ".png": 1,
            "link to a folder": 1,
            ".npy without pictures": 1,
            ".parquet without pictures": 1,
        }

    def test_members_of_tars_that_are_no_pictures_are_counted(self, tmp_path):
        path = write_tar(tmp_path / "a.tar", [("0.png", plain(0)), ("0.cls", b"1"), ("0.txt", b"")])
        with tarfile.open(path, "a") as opened:
            link = tarfile.TarInfo("1.png")
            link.type, link.linkname = tarfile.LNKTYPE, "0.png"
            opened.addfile(link)
        met, coverage = read(path)
        assert list(met) == ["a.tar#0.png"]
        assert left_out(coverage) == {".cls": 1, "link in a tar": 1}

    def test_a_folder_with_nothing_to_read_says_what_is_there(self, tmp_path):
        (tmp_path / "data_batch_1").write_bytes(b"pickled")
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"idx")
        with pytest.raises(TrainingSetError, match=r"1 \.gz, 1 file without suffix"):
            look_into(tmp_path)

    def test_statuses_without_end_are_not_all_counted_apart(self, tmp_path):
        statuses = [f"error \x1b[31m{number}" for number in range(100)]
        path = write_table(
            tmp_path / "t.parquet", jpg=pa.array([None] * 100, pa.binary()), status=statuses
        )
        counts = left_out(read(path)[1])
        assert (len(counts), sum(counts.values())) == (21, 100)
        assert all(map(str.isprintable, counts))


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "data", "said"),
        [
            ("data_batch_1", b"\x80\x04", "convert what is pickled"),
            ("train-images-idx3-ubyte.gz", b"\x1f\x8b", "convert what is pickled, or compressed"),
            ("set.tar.xz", b"\xfd7zXZ", "holds no pictures that are read"),
            ("a.png", plain(1), "it is a single picture; name its folder"),
        ],
    )
    def test_a_file_of_another_kind(self, tmp_path, name, data, said):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(NoPicturesError, match=said):
            look_into(tmp_path / name)

    @pytest.mark.parametrize(
        ("array", "said"),
        [
            (np.zeros((2, 4, 4, 3)), r"\(2, 4, 4, 3\) of float64"),
            (np.zeros((2, 3, 4, 4), np.uint8), r"\(2, 3, 4, 4\) of uint8"),
            (np.zeros((4, 4, 3), np.uint8), r"\(4, 4, 3\) of uint8"),
            (np.zeros((2, 0, 4), np.uint8), r"\(2, 0, 4\) of uint8"),
            (np.asfortranarray(np.zeros((2, 4, 4, 3), np.uint8)), "in Fortran's order"),
            (np.array([{}], object), r"\(1,\) of object"),
        ],
    )
    @pytest.mark.parametrize("save", [np.save, np.savez])
    def test_an_array_that_is_none_of_pictures(self, tmp_path, array, said, save):
        path = tmp_path / ("a.npy" if save is np.save else "a.npz")
        save(path, array, allow_pickle=True)
        with pytest.raises(NoPicturesError, match=said) as refused:
            look_into(path)
        assert "Parquet" not in str(refused.value)

    def test_what_is_no_file_and_what_is_too_large(self, tmp_path):
        with (tmp_path / "a.png").open("wb") as file:
            file.truncate(PICTURE_BYTES + 1)
        (tmp_path / "b.parquet").write_bytes(
            write_table(tmp_path / "set.parquet", image=["a.png", "/dev/zero", "."]).read_bytes()
        )
        _, coverage = read(tmp_path / "b.parquet")
        reasons = [one.reason for one in coverage.examples]
        assert coverage.unreadable == 3
        assert "more than 1,073,741,824" in reasons[0]
        assert "/dev/zero is no file" in reasons[1]
        with pytest.raises(OSError, match="is no file"):
            picture_bytes(tmp_path)


FILES = [
    (f"{number:03}.{kind}", data)
    for number in range(4)
    for kind, data in (("png", plain(number)), ("txt", b"a caption of some length"))
]


def tar_of(files, form=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as opened:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


TAR = tar_of(FILES)
LONG_TAR = tar_of([(f"{'ü' * 150}{name}", data) for name, data in FILES])
GNU_TAR = tar_of([(f"{'u' * 150}{name}", data) for name, data in FILES], tarfile.GNU_FORMAT)
CONTENT = len(TAR.rstrip(b"\0")) + -len(TAR.rstrip(b"\0")) % 512
"""Where the tar's end mark begins."""


def members(path):
    """The pictures of a tar; raises where it breaks off."""
    return [read() for _, read in tar_file.read_members(path, ".tar", Counter())]


def entries(path):
    """What all slices of a file hold; raises where one breaks off."""
    return [read() for part in cut_training_set(path) for _, read in read_slice(part)]


def bytes_of(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


MIXED_ROWS = [{"bytes": plain(1), "path": "x"}, {"bytes": None, "path": "y"}, None] * 3
PICTURE_ROWS = pa.table(
    {"image": [plain(level) for level in range(9)], "status": ["success"] * 9, "caption": ["c"] * 9}
)
WHOLE = {
    "parquet": bytes_of(lambda file: pq.write_table(PICTURE_ROWS, file, row_group_size=3)),
    "PARQUET": bytes_of(lambda file: pq.write_table(pa.table({"image": MIXED_ROWS}), file)),
    "tar": TAR,
    "tar.gz": gzip.compress(TAR, mtime=0),
    "npy": bytes_of(lambda file: np.save(file, np.full((3, 4, 4, 3), 5, np.uint8))),
    "npz": bytes_of(lambda file: np.savez_compressed(file, x=np.full((3, 4, 4, 3), 5, np.uint8))),
    "csv": b"file_name,text\na.png,b\n",
}


@pytest.mark.fuzz
@settings(max_examples=150)
@given(
    st.sampled_from([TAR, LONG_TAR, GNU_TAR]).flatmap(
        lambda tar: st.tuples(
            st.just(tar),
            st.integers(0, len(tar.rstrip(b"\0")) + 1000)
            | st.integers(0, len(tar.rstrip(b"\0")) // 512).map(lambda block: 512 * block),
        )
    )
)
def test_a_tar_cut_at_any_byte_is_found_out(tmp_path_factory, cut):
    whole, at = cut
    end = -(-len(whole.rstrip(b"\0")) // 512) * 512 + 1024
    path = tmp_path_factory.getbasetemp() / "cut.tar"
    path.write_bytes(whole[: min(at, end - 1)])
    with pytest.raises(UNREADABLE):
        members(path)


@pytest.mark.parametrize("at", [0, 1, 511, 512, 700, 1024, 1500, 2047, 2048])
def test_a_cut_in_headers_at_blocks_and_in_pictures(tmp_path, at):
    path = tmp_path / "cut.tar"
    path.write_bytes(TAR[:at])
    with pytest.raises(UNREADABLE):
        members(path)


def test_a_tar_is_whole_from_its_end_mark_on(tmp_path):
    path = tmp_path / "cut.tar"
    for at in range(CONTENT, CONTENT + 1200, 100):
        path.write_bytes(TAR[:at])
        if at < CONTENT + 1024:
            with pytest.raises(EOFError, match="end mark"):
                members(path)
        else:
            assert len(members(path)) == 4


def test_a_tar_that_goes_on_after_its_end_mark_is_not_taken_for_whole(tmp_path):
    path = tmp_path / "two.tar"
    path.write_bytes(TAR + TAR)
    with pytest.raises(ValueError, match="goes on after its end mark"):
        members(path)


def test_a_header_that_is_harmed_does_not_end_the_tar(tmp_path):
    path = tmp_path / "harmed.tar"
    second = TAR.index(b"002.png")
    path.write_bytes(TAR[:second] + b"X" + TAR[second + 1 :])
    with pytest.raises(ValueError, match="it was cut, is damaged, or goes on"):
        members(path)


@pytest.mark.fuzz
@settings(max_examples=60)
@given(st.integers(0, 100_000))
def test_a_compressed_tar_cut_at_any_byte_is_found_out(tmp_path_factory, at):
    whole = gzip.compress(TAR, mtime=0)
    path = tmp_path_factory.getbasetemp() / "cut.tar.gz"
    path.write_bytes(whole[: at % len(whole)])
    with pytest.raises(UNREADABLE):
        [read() for _, read in tar_file.read_members(path, ".tar.gz", Counter())]


@pytest.mark.fuzz
@settings(max_examples=100)
@given(st.sampled_from(["parquet", "npy", "npz"]), st.integers(0, 1_000_000))
def test_other_files_cut_at_any_byte_are_found_out(tmp_path_factory, kind, at):
    folder = tmp_path_factory.getbasetemp()
    whole = WHOLE[kind]
    (folder / f"cut.{kind}").write_bytes(whole[: at % len(whole)])
    with pytest.raises((TrainingSetError, *UNREADABLE)):
        entries(folder / f"cut.{kind}")


def test_what_comes_before_the_cut_is_read_and_the_file_is_named(tmp_path):
    (tmp_path / "a.tar").write_bytes(TAR[: TAR.index(b"003.png")])
    (tmp_path / "b.tar").write_bytes(TAR[: TAR.index(b"001.png") + 100])
    whole = WHOLE["npy"]
    (tmp_path / "c.npy").write_bytes(whole[:-1])
    met, coverage = read(tmp_path)
    assert list(met.values()) == [0, 1, 2, 0, 5, 5]
    assert [one.name for one in coverage.broken] == ["a.tar", "b.tar", "c.npy"]
    assert coverage.unreadable == 0


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150)
@given(
    st.sampled_from(sorted(set(WHOLE) - {"csv"})),
    st.integers(0, 2**32),
    st.integers(0, 8),
    st.none() | st.binary(max_size=200),
    st.booleans(),
)
def test_whatever_is_in_a_file_only_what_is_named_comes_out(
    tmp_path_factory, kind, seed, harms, instead, in_folder
):
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    data, dice = bytearray(WHOLE[kind]), random.Random(seed)
    for _ in range(harms):
        at = dice.randrange(len(data))
        data[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
    file = folder / f"a.{kind}"
    file.write_bytes(bytes(data) if instead is None else instead)
    try:
        fingerprint_training_set(folder if in_folder else file)
        met, coverage = read(folder if in_folder else file)
        assert len(met) == coverage.read
        captions(folder)
    except (SeedsweepError, *UNREADABLE):
        pass
    finally:
        file.unlink()


def test_an_archive_with_a_wrong_checksum_is_found_out(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.full((3, 4, 4, 3), 5, np.uint8))
    data = path.read_bytes()
    at = data.index(b"\x05" * 20)
    path.write_bytes(data[:at] + b"\x06" + data[at + 1 :])
    with pytest.raises(zipfile.BadZipFile):
        entries(path)


def test_an_older_parquet_file_without_its_suffix_is_read(tmp_path):
    write_parquet(tmp_path / "part-0000", [plain(1), plain(2)])
    assert list(read(tmp_path / "part-0000")[0].values()) == [1, 2]
