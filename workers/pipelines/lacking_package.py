"""The package that a part of a model needs and this machine lacks, read from what was raised."""

import re

from seedsweep.storage.errors import ConfigError

_UNDEFINED = {"ftfy": "ftfy", "OmniGenMultiModalProcessor": "torchvision"}
"""By a name that diffusers uses though it was not imported, the package for want of which."""

_REQUIRES = re.compile(r"requires the ([\w-]+) library,?\.? (?:but|But)")


class LackingPackageError(ConfigError):
    """A part of a model needs a package that this machine lacks."""

    def __init__(self, part: str, package: str) -> None:
        self.part, self.package = part, package
        super().__init__(
            f"The {part} needs the package {package}, which is not here; install it here and on "
            f"every worker's host: pip install {package}."
        )


def lacking_package(error: Exception) -> str:
    """The name of the package for want of which this error was raised; empty if it was not.

    transformers and diffusers say it in a paragraph, whose first name is the one to install.
    """
    said = _REQUIRES.search(str(error)) if isinstance(error, ImportError) else None
    if said:
        return said[1].lower()
    if isinstance(error, NameError):
        return _UNDEFINED.get(error.name or "", "")
    return (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
