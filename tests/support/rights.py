"""The rights at the broker that the documentation says are enough."""

import re

from tests.support.checkout import ROOT


def documented_rights():
    """What deploy/README.md gives a user, as the words of an ACL: keys, channels, commands."""
    [said] = re.findall(
        r"^ *ACL SETUSER seedsweep reset on >PASSWORD (.*?)\n\n", _text(), re.M | re.S
    )
    return said.replace("\\\n", " ").split()


def _text():
    return (ROOT / "deploy" / "README.md").read_text()
