"""Tiny ONNX models that embed pictures, made in code."""

import os

import numpy as np
import pytest

SIDE = 32
TOML = "size = 32\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n"


def need_embeddings():
    """Skip without the packages of the extra `select`, unless the tools are required."""
    for name in ("faiss", "onnx", "onnxruntime"):
        if os.environ.get("SEEDSWEEP_REQUIRE_TOOLS"):
            __import__(name)
        pytest.importorskip(name)


def write_model(path, shape=("n", 3, SIDE, SIDE), toml=TOML, nodes=None, **options):
    """A model whose vector is the picture averaged to 4 × 4 and weighed, and its .toml, if any."""
    import onnx

    made = model(shape, nodes, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(made, path)
    if toml is not None:
        path.with_suffix(".toml").write_text(toml)
    return path


def model(shape, nodes=None, kind="FLOAT", outputs=("y",), external=None, more_inputs=()):
    """That model; `external` is where its weights are said to lie, `nodes` what it does instead."""
    from onnx import TensorProto, helper

    number = getattr(TensorProto, kind)
    first = helper.make_tensor_value_info("x", number, shape)
    inputs = [first, *(helper.make_tensor_value_info(n, number, ["k"]) for n in more_inputs)]
    body = nodes or usual_nodes(shape)
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **node[3]) for node in body],
        "tiny",
        inputs,
        [helper.make_tensor_value_info(name, number, None) for name in outputs],
        [_weights(external, number)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def usual_nodes(shape):
    """(operator, inputs, outputs, attributes) of each."""
    last = shape[3] == 3
    turned = [("Transpose", ["x"], ["t"], {"perm": [0, 3, 1, 2]})] if last else []
    return [
        *turned,
        ("AveragePool", ["t" if last else "x"], ["p"], {"kernel_shape": [8, 8], "strides": [8, 8]}),
        ("Flatten", ["p"], ["f"], {}),
        ("MatMul", ["f", "w"], ["y"], {}),
    ]


def weights():
    """(48, 20), the same each time."""
    return np.random.default_rng(3).normal(size=(48, 20)).astype(np.float32)


def _weights(external, number):
    from onnx import TensorProto, helper, numpy_helper

    values = weights().astype(helper.tensor_dtype_to_np_dtype(number))
    if external is None:
        return numpy_helper.from_array(values, "w")
    made = TensorProto(name="w", data_type=number, dims=values.shape)
    made.data_location = TensorProto.EXTERNAL
    for key, value in external.items():
        entry = made.external_data.add()
        entry.key, entry.value = key, value
    return made
