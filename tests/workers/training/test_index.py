import io
import multiprocessing
import os
import shutil
import signal
import tracemalloc
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedsweep.storage.errors import ConfigError, TrainingSetError
from seedsweep.storage.prompt_results import Transform
from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.analysis.nearest import describe_training
from seedsweep.workers.training import index
from seedsweep.workers.training.fingerprint import fingerprint_training_set
from seedsweep.workers.training.index import load_training_set
from seedsweep.workers.training.pictures import read_pictures


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """An empty cache of this host."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(folder))
    return folder


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def data_of(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(colour, size=(4, 4)):
    return Image.new("RGB", size, colour)


def stripes(*colours, step=4, height=4):
    """Vertical stripes, each `step` wide."""
    pixels = np.zeros((height, step * len(colours), 3), np.uint8)
    for i, colour in enumerate(colours):
        pixels[:, i * step : (i + 1) * step] = colour
    return Image.fromarray(pixels)


def load(path, width=4, height=4, **settings):
    return load_training_set(Verification(training_set=str(path), **settings), width, height)


def load_one(path, picture, width=4, height=4, **settings):
    """Load a set of this picture alone: its (height, width, 3) pixels."""
    (path / "a.png").write_bytes(picture if isinstance(picture, bytes) else data_of(picture))
    return load(path, width, height, **settings).images.pictures[0]


def write_parquet(path, images, **columns):
    pq.write_table(pa.table({"image": images, **columns}), path)
    return path


def colour_at(pixels, row, column):
    return tuple(pixels[row, column].tolist())


class TestLoading:
    def test_of_exact_copies_the_first_is_kept(self, tmp_path):
        for name, colour in (("a", RED), ("b", BLUE), ("c", RED), ("d", BLUE), ("e", GREEN)):
            (tmp_path / f"{name}.png").write_bytes(data_of(plain(colour)))
        loaded = load(tmp_path)
        assert loaded.ids.to_pylist() == ["a.png", "b.png", "e.png"]
        assert loaded.images.pictures[:, 0, 0].tolist() == [list(RED), list(BLUE), list(GREEN)]
        assert load(tmp_path).ids.to_pylist() == loaded.ids.to_pylist()  # from the cache

    def test_a_folder_is_read_in_the_order_of_its_names(self, tmp_path):
        (tmp_path / "b").mkdir()
        (tmp_path / "z.png").write_bytes(data_of(plain(BLUE)))
        (tmp_path / "b" / "one.PNG").write_bytes(data_of(plain(GREEN)))
        (tmp_path / "a.bmp").write_bytes(data_of(plain(RED), "BMP"))
        (tmp_path / "notes.txt").write_text("no picture")
        loaded = load(tmp_path)
        assert loaded.ids.to_pylist() == ["a.bmp", "b/one.PNG", "z.png"]
        assert [colour_at(p, 0, 0) for p in loaded.images.pictures] == [RED, GREEN, BLUE]
        assert loaded.images.pictures.shape == (3, 4, 4, 3)
        assert loaded.images.pictures.dtype == np.uint8

    @pytest.mark.parametrize("shape", ["bytes", "struct"])
    def test_a_parquet_file_is_read_in_the_order_of_its_rows(self, tmp_path, shape):
        images = [data_of(plain(colour)) for colour in (RED, GREEN)]
        if shape == "struct":
            images = [{"bytes": data, "path": None} for data in images]
        loaded = load(write_parquet(tmp_path / "t.parquet", images, caption=["x", "y"]))
        assert loaded.ids.to_pylist() == ["t.parquet#0", "t.parquet#1"]
        assert [colour_at(p, 0, 0) for p in loaded.images.pictures] == [RED, GREEN]

    def test_a_picture_of_the_right_size_is_not_touched(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        assert np.array_equal(load_one(tmp_path, Image.fromarray(pixels), 5, 6), pixels)

    def test_a_transparent_picture_stands_on_white(self, tmp_path):
        rgba = np.zeros((4, 4, 4), np.uint8)
        rgba[:2] = (*RED, 255)
        rgba[3] = (0, 0, 0, 51)
        pixels = load_one(tmp_path, Image.fromarray(rgba, "RGBA"))
        assert colour_at(pixels, 0, 0) == RED
        assert colour_at(pixels, 2, 0) == WHITE
        assert colour_at(pixels, 3, 0) == (204, 204, 204)

    def test_a_palette_becomes_its_colours_and_its_transparent_entry_white(self, tmp_path):
        palette = stripes(RED, BLUE, step=2).convert("P", palette=Image.Palette.ADAPTIVE)
        pixels = load_one(tmp_path, palette)
        assert colour_at(pixels, 0, 0) == RED
        assert colour_at(pixels, 0, 3) == BLUE
        blue = palette.getpixel((3, 0))
        pixels = load_one(tmp_path, data_of(palette, transparency=blue))
        assert colour_at(pixels, 0, 0) == RED
        assert colour_at(pixels, 0, 3) == WHITE

    def test_grey_becomes_rgb(self, tmp_path):
        assert colour_at(load_one(tmp_path, Image.new("L", (4, 4), 77)), 0, 0) == (77, 77, 77)
        grey = Image.new("LA", (4, 4), (77, 0))
        assert colour_at(load_one(tmp_path, grey), 0, 0) == WHITE

    def test_a_photograph_lying_on_its_side_is_turned_upright(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        lying = data_of(stripes(RED, BLUE, step=2), exif=exif)
        upright = load_one(tmp_path, lying)
        assert colour_at(upright, 0, 0) == colour_at(upright, 0, 3) == RED
        assert colour_at(upright, 3, 0) == colour_at(upright, 3, 3) == BLUE

    def test_short_side_covers_the_size_and_crops_the_centre(self, tmp_path):
        wide = stripes(RED, GREEN, BLUE)
        assert (load_one(tmp_path, wide) == GREEN).all()
        tall = wide.rotate(90, expand=True)
        assert (load_one(tmp_path, tall) == GREEN).all()

    def test_short_side_keeps_proportions_when_it_shrinks(self, tmp_path):
        big = stripes(RED, GREEN, GREEN, GREEN, GREEN, BLUE, step=8, height=32)
        pixels = load_one(tmp_path, big, 8, 8)
        assert (pixels[:, 1:-1] == GREEN).all()

    def test_short_side_fits_a_size_that_is_not_square(self, tmp_path):
        pixels = load_one(tmp_path, stripes(RED, GREEN, step=8, height=16), 4, 8)
        assert pixels.shape == (8, 4, 3)
        assert colour_at(pixels, 4, 0) == RED
        assert colour_at(pixels, 4, 3) == GREEN

    def test_stretch_keeps_the_whole_picture(self, tmp_path):
        pixels = load_one(tmp_path, stripes(RED, GREEN, BLUE, step=40, height=40), resize="stretch")
        assert colour_at(pixels, 0, 0) == RED
        assert colour_at(pixels, 0, 3) == BLUE

    def test_a_small_picture_is_enlarged(self, tmp_path):
        assert (load_one(tmp_path, plain(RED, (2, 1)), 8, 8) == RED).all()

    @pytest.mark.parametrize(
        "broken",
        [
            b"",
            b"no picture",
            data_of(Image.effect_noise((64, 64), 50))[:-400],
            b"\x89PNG\r\n\x1a\n" * 3,
        ],
    )
    def test_pictures_that_cannot_be_read_are_counted_and_named(self, tmp_path, broken, caplog):
        (tmp_path / "a.png").write_bytes(data_of(plain(RED)))
        (tmp_path / "b.png").write_bytes(broken)
        (tmp_path / "c.png").write_bytes(broken)
        (tmp_path / "d.png").write_bytes(data_of(plain(BLUE)))
        loaded = load(tmp_path)
        assert loaded.ids.to_pylist() == ["a.png", "d.png"]
        assert [colour_at(p, 0, 0) for p in loaded.images.pictures] == [RED, BLUE]
        assert (loaded.coverage.pictures, loaded.coverage.unreadable) == (4, 2)
        assert [one.name for one in loaded.coverage.examples] == ["b.png", "c.png"]
        assert f"2 of 4 pictures of the training set {tmp_path} could be read" in caplog.text
        assert "2 could not be read: b.png (" in caplog.text

    @pytest.mark.parametrize(
        "value", [b"no picture", {"bytes": None, "path": "a.png"}, {"path": "a.png"}, "a.png"]
    )
    def test_a_set_of_which_nothing_can_be_read_is_refused(self, tmp_path, value):
        path = write_parquet(tmp_path / "t.parquet", [value])
        with pytest.raises(TrainingSetError, match=r"None of 1 .* The first: t\.parquet#0 \("):
            load(path)

    def test_a_training_set_that_is_gone_is_reported(self, tmp_path):
        for name in ("nowhere", "nowhere.parquet"):
            with pytest.raises(TrainingSetError, match="nowhere"):
                load(tmp_path / name)


class TestFingerprint:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "set"
        (folder / "sub").mkdir(parents=True)
        (folder / "a.png").write_bytes(data_of(plain(RED)))
        (folder / "sub" / "b.png").write_bytes(data_of(plain(BLUE)))
        return folder

    def test_it_changes_with_a_picture_and_not_with_its_time(self, folder):
        before = fingerprint_training_set(folder)
        os.utime(folder / "a.png", (1, 1))
        assert fingerprint_training_set(folder) == before
        (folder / "a.png").write_bytes(data_of(plain(GREEN)))
        assert fingerprint_training_set(folder) != before

    def test_it_changes_when_a_picture_is_added_moved_or_renamed(self, folder):
        seen = [fingerprint_training_set(folder)]
        (folder / "sub" / "b.png").rename(folder / "b.png")
        seen.append(fingerprint_training_set(folder))
        (folder / "b.png").rename(folder / "c.png")
        seen.append(fingerprint_training_set(folder))
        (folder / "d.png").write_bytes(data_of(plain(GREEN)))
        seen.append(fingerprint_training_set(folder))
        assert len(set(seen)) == 4

    def test_it_does_not_depend_on_where_the_folder_lies(self, folder, tmp_path):
        before = fingerprint_training_set(folder)
        moved = folder.rename(tmp_path / "moved")
        assert fingerprint_training_set(moved) == before

    def test_what_is_no_picture_does_not_count(self, folder):
        before = fingerprint_training_set(folder)
        (folder / "notes.txt").write_text("x")
        (folder / "folder.png").mkdir()
        assert fingerprint_training_set(folder) == before
        assert load(folder).ids.to_pylist() == ["a.png", "sub/b.png"]

    def test_a_parquet_file_is_named_by_its_content(self, tmp_path):
        path = write_parquet(tmp_path / "t.parquet", [b"1", b"2"])
        before = fingerprint_training_set(path)
        os.utime(path, (1, 1))
        assert fingerprint_training_set(path) == before
        write_parquet(path, [b"1", b"3"])
        assert fingerprint_training_set(path) != before

    def test_what_is_no_training_set_is_refused(self, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "text.parquet").write_text("no parquet")
        pq.write_table(pa.table({"picture": [b""]}), tmp_path / "other.parquet")
        write_parquet(tmp_path / "rowless.parquet", pa.array([], pa.binary()))
        for name in ("empty", "text.parquet", "other.parquet", "rowless.parquet", "nowhere"):
            with pytest.raises(ConfigError) as caught:
                fingerprint_training_set(tmp_path / name)
            assert str(tmp_path / name) in str(caught.value)
            assert "a folder of pictures" in str(caught.value)


def load_in_a_process(path, everyone, found):
    """Load it once everyone is ready to; what is found is the ids, and which pictures were read."""
    names = []
    read = index.read_pictures

    def noted(*wanted):
        for picture in read(*wanted):
            names.append(picture[0])
            yield picture

    index.read_pictures = noted
    everyone.wait(timeout=60)
    found.put((load(path).ids.to_pylist(), names))


def build_until_killed(path, waiting):
    """Index the set, and wait for ever once its first picture is read."""
    read = index.read_pictures

    def stuck(*wanted):
        for picture in read(*wanted):
            waiting.set()
            signal.pause()
            yield picture

    index.read_pictures = stuck
    load(path)


class TestIndex:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "set"
        folder.mkdir()
        for name, colour in {"a": RED, "b": GREEN, "c": BLUE}.items():
            (folder / f"{name}.png").write_bytes(data_of(plain(colour)))
        return folder

    @pytest.fixture
    def reads(self, monkeypatch):
        """The names of the pictures that were decoded."""
        names = []
        read = index.read_pictures

        def noted(*wanted):
            for picture in read(*wanted):
                names.append(picture[0])
                yield picture

        monkeypatch.setattr(index, "read_pictures", noted)
        return names

    def test_it_is_made_once_and_then_needs_no_picture(self, folder, reads):
        fingerprint = fingerprint_training_set(folder)
        first = load(folder, fingerprint=fingerprint)
        assert len(reads) == 3
        shutil.rmtree(folder)
        again = load(folder, fingerprint=fingerprint)
        assert len(reads) == 3
        assert again.ids.equals(first.ids)
        for field in fields(first.images):
            assert np.array_equal(
                getattr(again.images, field.name), getattr(first.images, field.name)
            )
        assert [again.id_of(i) for i in range(3)] == ["a.png", "b.png", "c.png"]

    def test_it_says_how_each_picture_came_to_the_size(self, folder, tmp_path):
        (folder / "b.png").write_bytes(data_of(plain(GREEN).resize((9, 6))))
        found = load(folder)
        assert found.transform_of(0) == Transform(width=4, height=4, resize="none", crop="none")
        assert found.transform_of(1) == Transform(
            width=9, height=6, resize="short-side", crop="center"
        )

    def test_it_holds_what_describing_the_pictures_in_memory_does(self, tmp_path, monkeypatch):
        monkeypatch.setattr(index, "_CHUNK_PICTURES", 2)
        pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 40, 3), dtype=np.uint8)
        rows = [data_of(Image.fromarray(picture)) for picture in pictures]
        loaded = load(write_parquet(tmp_path / "t.parquet", rows), 40, 32)
        expected = describe_training(pictures)
        for field in fields(expected):
            found = getattr(loaded.images, field.name)
            assert np.array_equal(found, getattr(expected, field.name))
            assert not found.flags.writeable

    @pytest.mark.parametrize(
        "change",
        [{"width": 5}, {"height": 5}, {"resize": "stretch"}, {"fingerprint": "sha256:other"}],
    )
    def test_what_alters_a_picture_makes_another_one(self, folder, reads, change, monkeypatch):
        load(folder)
        monkeypatch.setattr(
            index, "fingerprint_training_set", lambda *_: change.get("fingerprint", "1")
        )
        load(folder, **change)
        assert len(reads) == 6

    @pytest.mark.parametrize("change", [{"threshold": 0.2}, {"alpha": 0.7}, {"neighbours": 3}])
    def test_what_judges_a_picture_makes_no_other_one(self, folder, reads, change):
        load(folder)
        load(folder, **change)
        assert len(reads) == 3

    def test_a_training_set_that_has_changed_is_refused(self, folder, cache):
        fingerprint = fingerprint_training_set(folder)
        (folder / "b.png").write_bytes(data_of(plain(WHITE)))
        with pytest.raises(TrainingSetError, match="is not the one that was submitted") as raised:
            load(folder, fingerprint=fingerprint)
        assert str(folder) in str(raised.value)
        assert "restore it" in str(raised.value)
        assert [file.suffix for file in cache.rglob("*") if file.is_file()] == [".lock"]

    def test_a_set_of_which_nothing_can_be_read_leaves_nothing_behind(self, folder, cache):
        for file in folder.iterdir():
            file.write_bytes(b"no picture")
        with pytest.raises(TrainingSetError, match=r"None of 3 .* The first: a\.png"):
            load(folder)
        assert [file.suffix for file in cache.rglob("*") if file.is_file()] == [".lock"]

    @pytest.mark.parametrize("name", ["pictures.npy", "fine_norms.npy", "names.arrow"])
    @pytest.mark.parametrize("harm", ["gone", "torn", "empty", "foreign"])
    def test_one_that_is_not_whole_is_made_anew(self, folder, cache, reads, name, harm):
        load(folder)
        [file] = cache.rglob(name)
        if harm == "gone":
            file.unlink()
        else:
            data = {"torn": file.read_bytes()[:-9], "empty": b"", "foreign": b"something else"}
            file.write_bytes(data[harm])
        assert load(folder).ids.to_pylist() == ["a.png", "b.png", "c.png"]
        assert len(reads) == 6

    def test_one_of_fewer_pictures_than_names_is_made_anew(self, folder, cache, reads):
        load(folder)
        [file] = cache.rglob("fine_norms.npy")
        np.save(file, np.zeros(2))
        assert len(load(folder).images) == 3
        assert len(reads) == 6

    def test_processes_that_ask_at_once_make_one(self, folder):
        spawned = multiprocessing.get_context("spawn")
        found, everyone = spawned.Queue(), spawned.Barrier(3)
        arguments = (folder, everyone, found)
        processes = [spawned.Process(target=load_in_a_process, args=arguments) for _ in range(3)]
        for process in processes:
            process.start()
        answers = [found.get(timeout=60) for _ in processes]
        for process in processes:
            process.join(timeout=60)
        names = ["a.png", "b.png", "c.png"]
        assert [ids for ids, _ in answers] == [names] * 3
        assert sorted(read for _, read in answers) == [[], [], names]

    def test_what_a_killed_process_left_is_swept_away(self, folder, cache):
        spawned = multiprocessing.get_context("spawn")
        waiting = spawned.Event()
        process = spawned.Process(target=build_until_killed, args=(folder, waiting))
        process.start()
        assert waiting.wait(timeout=60)
        process.kill()
        process.join(timeout=60)
        assert list(cache.rglob("*.unfinished"))
        assert load(folder).ids.to_pylist() == ["a.png", "b.png", "c.png"]
        assert not list(cache.rglob("*.unfinished"))

    def test_one_that_does_not_fit_on_the_disk_is_refused_with_its_size(self, folder, monkeypatch):
        free = shutil.disk_usage(folder)._replace(free=300)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
        with pytest.raises(TrainingSetError, match="where 300 are free") as raised:
            load(folder)
        assert "SEEDSWEEP_CACHE_DIR" in str(raised.value)

    def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(self, folder, cache):
        cache.rmdir()
        cache.write_text("a file where the folder should be")
        with pytest.raises(TrainingSetError, match="set SEEDSWEEP_CACHE_DIR"):
            load(folder)

    def test_its_progress_is_logged(self, folder, monkeypatch, caplog):
        monkeypatch.setattr(index, "_CHUNK_PICTURES", 1)
        monkeypatch.setattr(index, "PROGRESS_SECONDS", 0.0)
        with caplog.at_level("INFO"):
            load(folder)
        assert "2 of 3 pictures" in caplog.text

    def test_a_parquet_file_of_one_row_group_is_not_held_whole(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (64, 256, 256, 3), np.uint8)
        rows = [data_of(Image.fromarray(picture), "BMP") for picture in noise]
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"image": rows}), path, compression="none", write_batch_size=1)
        size, before = sum(map(len, rows)), pa.total_allocated_bytes()
        read = read_pictures(Verification(training_set=str(path)), 4, 4)
        assert next(read)[0] == "t.parquet#0"
        assert pa.total_allocated_bytes() - before < 0.8 * size

    def test_making_it_takes_the_same_memory_whatever_the_set(self, tmp_path, monkeypatch):
        monkeypatch.setattr(index, "_CHUNK_PICTURES", 8)

        def peak(count):
            noise = np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3), np.uint8)
            rows = [data_of(Image.fromarray(picture)) for picture in noise]
            path = write_parquet(tmp_path / f"{count}.parquet", rows)
            del noise, rows
            tracemalloc.start()
            load(path, 64, 64)
            held = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return held

        assert peak(256) < 1.5 * peak(64)
