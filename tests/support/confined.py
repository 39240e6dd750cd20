"""A Python that finds only some of the installed packages: an image's, without building it."""

import re
import sysconfig
from importlib.metadata import Distribution, distributions

from packaging.utils import canonicalize_name

_PRELUDE = '''"""Import as if these packages were not installed."""

import sys
from importlib.machinery import PathFinder

MODULES, DISTRIBUTIONS, SITES = {modules!r}, {names!r}, {sites!r}


class Confined(PathFinder):
    """Finds all but them; a copy that another package carries with it is not meant."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is None and name in MODULES:
            path = [entry for entry in sys.path if entry not in SITES]
        return PathFinder.find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, *arguments, **options):
        for each in PathFinder.find_distributions(*arguments, **options):
            if each.metadata["Name"] not in DISTRIBUTIONS:
                yield each


sys.meta_path[sys.meta_path.index(PathFinder)] = Confined
'''


def confine(folder, packages):
    """Write into the folder what, on PYTHONPATH, leaves Python only seedsweep and the packages."""
    kept, left_out = [], []
    for each in distributions():
        name = canonicalize_name(each.metadata["Name"])
        (kept if name in packages or name == "seedsweep" else left_out).append(each)
    modules = set().union(*map(_modules, left_out)) - set().union(*map(_modules, kept))
    sites = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    names = {each.metadata["Name"] for each in left_out}
    text = _PRELUDE.format(modules=modules, names=names, sites=sites)
    (folder / "sitecustomize.py").write_text(text)


def _modules(distribution: Distribution):
    """The names that it is imported by."""
    tops = {file.parts[0] for file in distribution.files or []}
    return {re.sub(r"(\.[\w-]+)*\.(py|so)$", "", top) for top in tops if top != ".."}
