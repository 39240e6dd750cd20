"""Which test files compute, and which mostly wait for the servers and services that they start.

`.ci/check` runs the two kinds side by side: those that compute take what processors the others
leave. A file waits if it asks for the fixture of a server or for a helper that starts processes, or
starts seedsweep itself.
"""

import re

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


def stage(file):
    """The stage that a test file belongs to."""
    return STAGES[bool(_WAITS.search(file.read_text()))]
