"""Audits and their bundles."""

import pytest

from seedsweep.audit.evidence.signature import open_signer
from seedsweep.audit.replay.replay import ReplayOptions, replay_some
from seedsweep.storage.campaigns import store_verification
from tests.support.bundle_checks import make_key
from tests.support.bundles import Audit


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An audit that no test changes; its training set was searched."""
    audit = Audit(tmp_path_factory.mktemp("audit"))
    store_verification(audit.store, audit.search())
    return audit


@pytest.fixture
def audit(tmp_path):
    return Audit(tmp_path)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return make_key(tmp_path_factory.mktemp("key") / "key.pem")


@pytest.fixture(scope="module")
def signed(made, key):
    """A signed bundle with all that a bundle can have; tests change it only for a moment."""
    replays = replay_some(made.store, made.id, 3, 1, ReplayOptions(), lambda done, of: None)
    return made.bundle("signed", replays=replays, sample_seed=1, signer=open_signer(key))
