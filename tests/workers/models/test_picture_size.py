import json

import pytest

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.settings.model import Model
from seedsweep.storage.settings.sampling import Sampling
from seedsweep.workers.models.picture_size import check_size, size_remark
from tests.support.model_folders import put, reindex, save_folder


@pytest.fixture
def folder(tmp_path):
    return save_folder(tmp_path / "model")


def check(folder, **sampling):
    check_size(Model(path=str(folder)), Sampling(**sampling))


def test_other_sizes_than_the_models_own_are_remarked_on(folder):
    put(folder, "unet/config.json", json.dumps({"sample_size": 64}))
    put(folder, "vae/config.json", json.dumps({"block_out_channels": [1, 1]}))
    model = Model(path=str(folder))
    assert not size_remark(model, Sampling(width=128, height=128))
    assert not size_remark(model, Sampling(width=128, height=192))
    assert "own size is 128 × 128 pixels; 512 × 512" in size_remark(model, Sampling())  # noqa: RUF001
    assert not size_remark(Model(path="a/hub-id"), Sampling())


@pytest.mark.parametrize(("levels", "factor"), [(1, 1), (3, 4), (4, 8)])
def test_pictures_must_be_a_multiple_of_what_the_autoencoder_reduces_by(folder, levels, factor):
    (folder / "vae" / "config.json").write_text(
        json.dumps({"block_out_channels": list(range(levels))})
    )
    check(folder, width=8 * factor, height=3 * factor)
    for width, height in [(factor + 1, factor), (factor, factor + 1)]:
        if factor > 1:
            with pytest.raises(ConfigError, match=f"multiples of {factor}"):
                check(folder, width=width, height=height)


def test_a_model_without_an_autoencoder_makes_any_size(folder):
    reindex(folder, vae=[None, None])
    (folder / "vae" / "config.json").unlink()
    check(folder, width=33, height=7)
