"""Models that embed pictures, and the vectors in inverted lists."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.errors import ConfigError
from seedsweep.workers.analysis import cells
from seedsweep.workers.analysis.outliers import furthest
from seedsweep.workers.training import embedding_index, embedding_model
from seedsweep.workers.training.embedding_file import Embeddings, embedding_file
from seedsweep.workers.training.embedding_model import (
    EmbeddingModel,
    EmbeddingSettings,
    open_embedding,
)
from tests.support.onnx_models import SIDE, TOML, need_embeddings, weights, write_model
from tests.support.pictures import drawings

need_embeddings()


@pytest.fixture(autouse=True)
def none_open():
    embedding_model._opened.cache_clear()


def slow_vectors(pictures):
    """What the tiny model makes of pictures, in floats of 64 bits."""
    scaled = (pictures / 255.0 - 0.5) / 0.25
    count = len(pictures)
    means = scaled.reshape(count, 4, 8, 4, 8, 3).mean(axis=(2, 4))
    made = np.moveaxis(means, 3, 1).reshape(count, 48) @ weights()
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("shape", "kind", "close"),
    [
        (("n", 3, SIDE, SIDE), "FLOAT", 1e-3),
        (("n", 3, "h", "w"), "FLOAT", 1e-3),
        ((1, 3, SIDE, SIDE), "FLOAT", 1e-3),
        ((4, SIDE, SIDE, 3), "FLOAT", 1e-3),
        (("n", 3, SIDE, SIDE), "FLOAT16", 1e-2),
    ],
)
def test_a_vector_is_that_of_the_picture_normalised(tmp_path, shape, kind, close):
    model = open_embedding(write_model(tmp_path / "m.onnx", shape, kind=kind))
    pictures = drawings(5, 1, SIDE)
    made = model.embed(pictures)
    assert (made.shape, made.dtype) == ((5, 20), np.float16)
    assert np.abs(made - slow_vectors(pictures)).max() < close


def test_a_picture_has_one_vector_whatever_stands_beside_it(tmp_path):
    model = open_embedding(write_model(tmp_path / "m.onnx"))
    pictures = drawings(35, 1, SIDE)
    whole = model.embed(pictures)
    assert np.array_equal(whole[20:22], model.embed(pictures[20:22]))
    assert model.embed(pictures[:0]).shape == (0, 20)


def test_the_centre_of_a_larger_picture_is_cut(tmp_path):
    path = write_model(tmp_path / "m.onnx", toml=f"{TOML}scale_to = 40\n")
    model = open_embedding(path)
    large = drawings(2, 1, 40)
    assert np.abs(model.embed(large) - slow_vectors(large[:, 4:36, 4:36])).max() < 1e-3
    assert model.scaled == 40


def test_what_has_no_finite_numbers_has_no_vector(tmp_path):
    black = ("Log", ["x"], ["l"], {}), ("Flatten", ["l"], ["y"], {})
    toml = "size = 32\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n"
    model = open_embedding(write_model(tmp_path / "m.onnx", toml=toml, nodes=black))
    pictures = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 9, np.uint8)])
    assert [bool(vector.any()) for vector in model.embed(pictures)] == [False, True]


def test_networks_of_convolutions_and_several_outputs(tmp_path):
    pooled = [("GlobalAveragePool", ["x"], ["y"], {}), ("Neg", ["x"], ["z"], {})]
    toml = f'{TOML}output = "y"\n'
    path = write_model(tmp_path / "m.onnx", toml=toml, nodes=pooled, outputs=("z", "y"))
    assert open_embedding(path).values == 3


class TestWeightsLieOnlyBesideTheModel:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "w.bin").write_bytes(weights().tobytes())
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "w.bin").write_bytes(weights().tobytes())
        (tmp_path / "m" / "link.bin").symlink_to("../w.bin")
        return tmp_path / "m"

    def test_they_are_read_from_there(self, folder):
        path = write_model(folder / "m.onnx", external={"location": "w.bin"})
        pictures = drawings(2, 1, SIDE)
        assert np.abs(open_embedding(path).embed(pictures) - slow_vectors(pictures)).max() < 1e-3

    @pytest.mark.parametrize(
        "where",
        ["../w.bin", "{parent}/w.bin", "link.bin", "none.bin", ".", "/dev/zero", "a/../../w.bin"],
    )
    def test_nothing_else_is(self, folder, where):
        location = where.format(parent=folder.parent)
        path = write_model(folder / "m.onnx", external={"location": location})
        with pytest.raises(ConfigError, match="onnxruntime cannot load it"):
            open_embedding(path)

    def test_nor_memory(self, folder):
        where = {"location": "*/_ORT_MEM_ADDR_/*", "offset": "4096", "length": "3840"}
        with pytest.raises(ConfigError, match="onnxruntime cannot load it"):
            open_embedding(write_model(folder / "m.onnx", external=where))

    def test_as_a_cache_of_links_has_them(self, tmp_path):
        blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots"
        snapshot.mkdir()
        write_model(blobs / "a.onnx", toml=None, external={"location": "m.bin"})
        (blobs / "b").write_bytes(weights().tobytes())
        (snapshot / "m.onnx").symlink_to("../blobs/a.onnx")
        (snapshot / "m.bin").symlink_to("../blobs/b")
        (snapshot / "m.toml").write_text(TOML)
        assert open_embedding(snapshot / "m.onnx").values == 20


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"toml": None}, "m.toml is missing; write `size`, `mean` and `std` into it"),
        ({"toml": "size = 32\n"}, "mean: Field required"),
        ({"toml": TOML + "colour = 3\n"}, "colour: Extra inputs are not permitted"),
        ({"toml": TOML.replace("0.25", "0.0")}, "std.0: Input should be greater than 0"),
        ({"toml": TOML.replace("0.25", "nan")}, "std.0: Input should be"),
        ({"toml": "size = "}, "m.toml cannot be read"),
        ({"toml": TOML + 'output = "z"\n'}, "it has no output z; it has y"),
        ({"toml": TOML.replace("32", "24")}, "it takes 32 x 32 pixels, not 24"),
        ({"toml": TOML + "scale_to = 16\n"}, "scale_to = 16 is less than size = 32"),
        (
            {"shape": ("n", 1, 32, 32), "nodes": [("Flatten", ["x"], ["y"], {})]},
            "its pictures have 1 channels, not 3",
        ),
        ({"shape": ("n", 3072), "nodes": [("Neg", ["x"], ["y"], {})]}, "and not pictures"),
        ({"kind": "UINT8", "nodes": [("Flatten", ["x"], ["y"], {})]}, "and not pictures of floats"),
        ({"more_inputs": ("text",)}, "it takes x, text, and not a picture alone"),
        ({"nodes": [("Neg", ["x"], ["y"], {})]}, r"gives \[16, 3, 32, 32\], no vector for each"),
        ({"nodes": [("Neg", ["x"], ["y"], {"domain": "own"})]}, "is not a registered function/op"),
        (
            {"nodes": [("Flatten", ["x"], [n], {}) for n in "ya"], "outputs": ("y", "a")},
            "set `output` in its .toml to one of y, a",
        ),
    ],
)
def test_a_model_that_is_unfit_is_refused_in_one_sentence(tmp_path, options, why):
    with pytest.raises(ConfigError, match=why) as raised:
        open_embedding(write_model(tmp_path / "m.onnx", **options))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("m.torchscript.pt", b"any", "which runs what it says as it is loaded; export it to ONNX"),
        ("m.onnx", b"PK\x03\x04", "which runs what it says as it is loaded; export it to ONNX"),
        ("m.safetensors", b"{}", "is no .onnx file"),
        ("m.onnx", b"", "onnxruntime cannot load it"),
        ("m.onnx", b"version https://git-lfs.github.com/spec/v1\n", "onnxruntime cannot load it"),
        ("m.onnx", None, "is no file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, data, why):
    path = tmp_path / name
    path.with_suffix(".toml").write_text(TOML)
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=why):
        open_embedding(path)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    path = write_model(tmp_path / "m.onnx")
    monkeypatch.setattr(embedding_model, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs onnxruntime and faiss-cpu, not installed here"):
        open_embedding(path)


def test_no_command_imports_them_without_a_model():
    code = (
        "import sys; import seedsweep.scheduler.selection.selection as _;"
        "print({'faiss', 'onnxruntime'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


def embeddings_of(values, count=40, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, values))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(vectors.astype(np.float16)[:, None], np.arange(count))


@given(st.integers(2, 60), st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=20, derandomize=True, deadline=None)
def test_outliers_come_in_the_order_of_comparing_all(count, neighbours, seed):
    made = embeddings_of(8, count, seed)
    values = made.at(np.arange(count)).astype(float)
    apart = np.sort(np.sqrt(np.square(values[:, None] - values[None]).sum(axis=2)), axis=1)
    expected = apart[:, 1 : min(neighbours, count - 1) + 1].mean(axis=1)
    space = embedding_index.EmbeddingSpace(made)
    found = list(furthest(space, np.ones(count, bool), neighbours))
    assert np.allclose([score for _, score in found], -np.sort(-expected), atol=1e-3)
    assert sorted(place for place, _ in found) == list(range(count))


def test_outliers_are_exact_in_many_lists(monkeypatch):
    monkeypatch.setattr(cells, "WHOLE", 8)
    made = embeddings_of(8, 400)
    space = embedding_index.EmbeddingSpace(made)
    everyone = np.arange(400)
    exact = space.exact(everyone, 5)
    assert (space.bounds(everyone, 5, lambda done, total: None) >= exact).all()
    first = next(furthest(space, np.ones(400, bool), 5))
    assert first[0] == exact.argmax()


def test_nearly_all_of_the_nearest_are_found_by_a_graph_of_pivots_and_always_the_same(monkeypatch):
    monkeypatch.setattr(cells, "WHOLE", 8)
    monkeypatch.setattr(cells, "CELL", 4)
    monkeypatch.setattr(embedding_index, "LISTS_COMPARED", 8)
    made, everyone = embeddings_of(8, 1200), np.arange(1200)
    values = made.at(everyone)
    exact = np.argsort(((values[:, None] - values[None]) ** 2).sum(axis=2), axis=1)[:, :5]
    answers = []
    for _ in range(2):
        index = embedding_index.EmbeddingIndex(made)
        index.hold(everyone)
        answers.append(index.nearest(everyone, 5)[1])
    assert np.array_equal(*answers)
    found = np.mean([len({*a} & {*b}) / 5 for a, b in zip(answers[0], exact, strict=True)])
    assert found > 0.98


def test_what_has_no_vector_is_no_outlier():
    made = embeddings_of(8)
    held = made._held.copy()
    held[3] = 0
    space = embedding_index.EmbeddingSpace(Embeddings(held, np.arange(40)))
    found = list(furthest(space, np.ones(40, bool), 5))
    assert found[-1] == (3, 0.0)


@pytest.mark.parametrize(("whole", "compared"), [(cells.WHOLE, 1024), (8, 1024), (8, 4)])
def test_proposals_are_the_pairs_that_are_alike(monkeypatch, whole, compared):
    monkeypatch.setattr(cells, "WHOLE", whole)
    monkeypatch.setattr(cells, "CELL", 2)
    monkeypatch.setattr(embedding_index, "LISTS_COMPARED", compared)
    made = embeddings_of(4, 30)
    values = made.at(np.arange(30))
    alike = values @ values.T >= 0.8
    proposals = embedding_index.EmbeddingProposals(made, 0.8)
    assert np.array_equal(proposals.among(np.arange(30)), alike)
    proposals.hold(np.arange(10, 30))
    pairs = {*zip(*(side.tolist() for side in proposals.near(np.arange(10))), strict=True)}
    assert pairs == {(a, b) for a in range(10) for b in range(10, 30) if alike[a, b]}


def test_vectors_are_had_in_the_order_of_slices_however_they_came(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEDSWEEP_CACHE_DIR", str(tmp_path / "cache"))
    toml = EmbeddingSettings(size=8, mean=(0, 0, 0), std=(1, 1, 1))
    model = EmbeddingModel(path="m.onnx", settings=toml, values=2)
    parts = [np.full((n, 2, 2), n, np.float16) for n in (3, 0, 2)]
    parts[2][1] = 0
    with embedding_file(model, flip=True) as file:
        for number in (2, 0, 1):
            file.add(number, parts[number])
        made = file.whole()
        assert (len(made), made.ways, made.values, file.without) == (5, 2, 2, 1)
        assert made.at(np.arange(5))[:, 0].tolist() == [3, 3, 3, 2, 0]
        assert made.of(np.array([4, 3])).at(np.array([1]), 1).tolist() == [[2, 2]]
    assert list((tmp_path / "cache" / "selection").iterdir()) == []
