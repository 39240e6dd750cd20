"""How thoroughly hypothesis tries what holds for all inputs.

`ci`, the default, tries the same examples at every run, so that a red run is the change's doing.
`nightly` draws new ones, and twenty times as many as each test says.
"""

import os

from hypothesis import is_hypothesis_test, settings

TIMES = 20
_SETTINGS = "_hypothesis_internal_use_settings"
"""Where hypothesis keeps a test's settings, which it has no other way to change."""


def register():
    """Make the profiles known, and load the one that HYPOTHESIS_PROFILE names, else `ci`.

    `--hypothesis-profile` comes later, so it wins.
    """
    settings.register_profile("ci", deadline=None, derandomize=True)
    settings.register_profile("nightly", deadline=None, print_blob=True)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def apply(tests):
    """Have the profile that is loaded hold for tests with settings of their own, too."""
    if settings.get_current_profile_name() == "nightly":
        for test in {test for test in tests if is_hypothesis_test(test)}:
            deepen(test)


def deepen(test):
    """Let the test draw new examples, and many more of them."""
    own = getattr(test, _SETTINGS)
    more = settings(own, max_examples=TIMES * own.max_examples, derandomize=False)
    setattr(test, _SETTINGS, more)
