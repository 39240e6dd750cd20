"""How thoroughly hypothesis tries what holds for all inputs.

`ci`, the default, tries the same examples at every run, so that a red run is the change's doing.
`nightly` draws new ones, and twenty times as many as each test says. `fuzz` does so too,
and fails a test whose example takes more than half a minute or a gigabyte.
"""

import datetime
import os
import re
import resource
from pathlib import Path

from hypothesis import is_hypothesis_test, settings

TIMES = 20
LIMIT = datetime.timedelta(seconds=30)
LIMIT_BYTES = 1 << 30
_SETTINGS = "_hypothesis_internal_use_settings"
"""Where hypothesis keeps a test's settings, which it has no other way to change."""


def register():
    """Make the profiles known, and load the one that HYPOTHESIS_PROFILE names, else `ci`.

    `--hypothesis-profile` comes later, so it wins.
    """
    settings.register_profile("ci", deadline=None, derandomize=True)
    settings.register_profile("nightly", deadline=None, print_blob=True)
    settings.register_profile("fuzz", deadline=LIMIT, print_blob=True)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def apply(tests):
    """Have the profile that is loaded hold for tests with settings of their own, too."""
    name = settings.get_current_profile_name()
    if name in ("fuzz", "nightly"):
        for test in drawing(tests):
            deepen(test, settings.get_profile(name).deadline)


def drawing(tests):
    """The functions among the tests that draw examples, methods of classes too; each once."""
    functions = {getattr(test, "__func__", test) for test in tests}
    return {function for function in functions if is_hypothesis_test(function)}


def deepen(test, deadline=None):
    """Let the test draw new examples, and many more of them, each within the deadline."""
    own = getattr(test, _SETTINGS)
    setattr(
        test,
        _SETTINGS,
        settings(own, max_examples=TIMES * own.max_examples, derandomize=False, deadline=deadline),
    )


def confine():
    """While fuzzing: the process may take so many bytes more than it has, and no more."""
    if settings.get_current_profile_name() == "fuzz":
        [has] = re.findall(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text())
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (1024 * int(has) + LIMIT_BYTES, hard))
