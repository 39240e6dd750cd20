"""The package that a part of a model needs and this machine lacks, read from what was raised."""

import re

_UNNAMED = ("ftfy",)
"""What diffusers imports if it is there, and uses though it is not."""

_REQUIRES = re.compile(r"requires the ([\w-]+) library,?\.? (?:but|But)")


def lacking_package(error: Exception) -> str:
    """The name of the package for want of which this error was raised; empty if it was not.

    transformers and diffusers say it in a paragraph, whose first name is the one to install.
    """
    said = _REQUIRES.search(str(error)) if isinstance(error, ImportError) else None
    if said:
        return said[1].lower()
    if isinstance(error, NameError) and error.name in _UNNAMED:
        return error.name
    return (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
