"""How long tests wait: as long as on a machine with a core to spare, times the load of this one."""

import contextlib
import os
import time


def load_per_core():
    """How many processes want each core; at least 1."""
    return max(1, os.getloadavg()[0] / os.cpu_count())


@contextlib.contextmanager
def done_within(seconds):
    """Fail if what is done here takes longer than so many seconds, which grow with the load."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds * load_per_core()
