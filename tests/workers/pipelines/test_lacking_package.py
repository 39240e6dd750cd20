"""A package that is not here is named in the words of the one who asks for it."""

import pytest

from seedsweep.workers.pipelines.lacking_package import lacking_package

OF_TRANSFORMERS = """
Qwen3VLVideoProcessor requires the Torchvision library but it was not found in your environment.
Check out the instructions on the installation page
"""


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ImportError(OF_TRANSFORMERS), "torchvision"),
        (ImportError("A requires the SentencePiece library but it was not found"), "sentencepiece"),
        (ImportError("A requires the librosa library. But that was not found"), "librosa"),
        (ModuleNotFoundError("No module named 'av.video'", name="av.video"), "av"),
        (NameError("name 'ftfy' is not defined", name="ftfy"), "ftfy"),
        (NameError("not defined", name="OmniGenMultiModalProcessor"), "torchvision"),
        (NameError("name 'x' is not defined", name="x"), ""),
        (ImportError("cannot import name 'x'"), ""),
        (ValueError("requires the y library but it was not found"), ""),
    ],
)
def test_the_package_that_is_lacking_is_named_and_no_other(error, package):
    assert lacking_package(error) == package
