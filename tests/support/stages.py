"""Which test files compute, and which mostly wait for the servers and services that they start.

`.ci/check` runs the two kinds side by side: those that compute take what processors the others
leave. A file waits if it asks for the fixture of a server or for a helper that starts processes, or
starts seedsweep itself.

Of the files that wait, few load a model. One process has all of these, so that the others import
neither torch nor diffusers, which takes each of them seconds.
"""

import functools
import re

from xdist.scheduler import LoadFileScheduling

STAGES = ("computing", "waiting")

_FIXTURES = (
    "broker|broker_url|joining_ray|ledger|proxied_url|s3_proxy|s3_server|s3_url|valkey|workforce"
)
_HELPERS = "brokers|chaos|commands|deployment|hosts|local|processes|proxy|sentinel|servers|slurm"
_WAITS = re.compile(
    rf"^ *def \w+\([^)]*\b(?:{_FIXTURES})\b"
    rf"|^from tests(?:\.support)?(?:\.| import )(?:{_HELPERS})\b"
    r'|"-m",\s+"seedsweep\.cli"',
    re.MULTILINE,
)
_LOADS = re.compile(r"\btiny_model\b")


def stage(file):
    """The stage that a test file belongs to."""
    return STAGES[bool(_WAITS.search(file.read_text()))]


class WaitingFiles(LoadFileScheduling):
    """A file's tests stay in one process, and so do those of all files that load a model."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "what loads a model" if _loads_model(self.config.rootpath / file) else file


@functools.cache
def _loads_model(file):
    return bool(_LOADS.search(file.read_text()))
