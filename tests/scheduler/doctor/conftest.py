"""`doctor` on this machine, with a store of its own and without Ray."""

import pytest

from seedsweep.scheduler.doctor import checks
from seedsweep.scheduler.doctor.checks import examine
from seedsweep.scheduler.environment import Environment
from seedsweep.workers.cluster import private_ray


@pytest.fixture(autouse=True)
def without_a_ray_of_our_own(monkeypatch):
    """What a private Ray leaves in its process's environment, `doctor` never has in its own."""
    for name in private_ray.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store_url(tmp_path):
    return f"file:{tmp_path / 'store'}"


@pytest.fixture
def look(monkeypatch, store_url):
    """Examine without Ray, which takes seconds; returns the diagnoses about one thing, or all."""
    monkeypatch.setattr(checks, "_ray", lambda address: iter(()))

    def look(about=None, store=store_url, campaign=None, create_bucket=False, **environment):
        found = list(examine(Environment(**environment), store, campaign, create_bucket))
        return [diagnosis for diagnosis in found if about in (None, diagnosis.about)]

    return look
