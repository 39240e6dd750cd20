import pytest
from pydantic import ValidationError

from seedsweep.storage.settings.model import Adapter, Model


def test_a_prompt_is_given_with_each_trigger_that_it_lacks():
    adapters = [Adapter(path="a", trigger=text) for text in ("sks", "", "in oil,")]
    model = Model(path="m", adapters=tuple(adapters))
    assert model.given("a cat") == "sks in oil, a cat"
    assert model.given("a cat of sks") == "in oil, a cat of sks"
    assert model.given("in oil, sks") == "in oil, sks"
    assert Model(path="m").given("a cat") == "a cat"


@pytest.mark.parametrize(
    "file", ["../x.safetensors", "/x.safetensors", "x.bin", "a/../x.safetensors", ".x.safetensors"]
)
def test_a_file_of_an_adapter_stays_in_its_folder_and_is_safetensors(file):
    with pytest.raises(ValidationError):
        Adapter(path="a", file=file)
    assert Adapter(path="a", file="b/c.safetensors").file


def test_a_model_names_the_options_that_are_switched_on():
    assert Model().options == ()
    assert Model(compile=True, vae_tiling=True).options == ("vae_tiling", "compile")
