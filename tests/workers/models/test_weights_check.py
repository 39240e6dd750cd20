"""Whatever a file of weights holds is what it is named as, or refused."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedsweep.storage.errors import ConfigError
from seedsweep.workers.models.safetensors_file import read_header
from seedsweep.workers.models.weights_check import (
    check_adapter,
    check_checkpoint,
    check_embedding,
    vectors_of,
)
from tests.support.model_folders import put, safetensors

NAMES = st.sampled_from(
    [
        *("unet.to_q.lora_A.weight", "unet.to_q.lora_B.weight", "lora_unet_x.alpha", "clip_l"),
        *("clip_g", "model.diffusion_model.input_blocks.0.0.weight", "v_pred", "emb", "x"),
    ]
)
TENSORS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F8_E4M3", 3]),
        "shape": st.lists(st.integers(-1, 9) | st.just(10**15) | st.text(max_size=2), max_size=4),
        "data_offsets": st.lists(st.integers(0, 64), max_size=3),
    }
)


def test_a_header_tells_shapes_and_dtypes(tmp_path):
    header = read_header(put(tmp_path, "x.safetensors", safetensors(a=[2, 3], b=[])))
    assert header.shapes == {"a": [2, 3], "b": []}
    assert header.dtypes == {"a": "F32", "b": "F32"}


def test_a_shape_that_the_file_cannot_hold_is_none(tmp_path):
    text = json.dumps({"a": {"dtype": "F32", "shape": [10**15, 1], "data_offsets": [0, 4]}})
    file = put(tmp_path, "x", len(text).to_bytes(8, "little") + text.encode() + bytes(4))
    assert read_header(file) is None
    assert vectors_of(file) == 1


@pytest.mark.fuzz
@settings(max_examples=100)
@given(
    described=st.dictionaries(NAMES, TENSORS, max_size=4) | st.none() | st.lists(st.none()),
    tail=st.integers(0, 64),
    config=st.dictionaries(st.sampled_from(["in_channels", "prediction_type"]), st.integers(0, 9)),
)
def test_any_file_of_weights_is_taken_or_refused(tmp_path_factory, described, tail, config):
    folder = tmp_path_factory.mktemp("fuzzed")
    text = json.dumps(described).encode()
    file = put(folder, "x", len(text).to_bytes(8, "little") + text + bytes(tail))
    for name in ("unet/config.json", "scheduler/scheduler_config.json"):
        put(folder, name, json.dumps(config))
    for check in (check_adapter, check_embedding):
        with contextlib.suppress(ConfigError):
            check("adapter 1", file)
    with contextlib.suppress(ConfigError):
        check_checkpoint(file, folder)
    assert 0 <= vectors_of(file) <= 8 * file.stat().st_size
