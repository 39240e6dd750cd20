"""The signs that a campaign is served cost a store that refuses them one request now and then."""

from seedsweep.scheduler.dispatch.served import SIGN_SECONDS, ServedSigns
from seedsweep.storage.campaigns import SERVED_SECONDS, is_served
from seedsweep.storage.observed_store import ObservedStore
from seedsweep.storage.s3.connection import Patience
from seedsweep.storage.s3.store import S3Store
from tests.support.proxy import STORAGE_FULL, Faults

NAMES = ["first", "second", "third"]


def test_a_store_that_refuses_is_left_alone_for_a_while(proxied_url, s3_proxy, monkeypatch):
    requests = []
    store = ObservedStore(
        S3Store(proxied_url, patience=Patience(again=0.1, backoff=0.001)), requests.append
    )
    signs = ServedSigns(store)
    s3_proxy.faults = Faults(errors=1.0, error=STORAGE_FULL, only="PUT")
    signs.show(NAMES)
    signs.show(NAMES)
    assert [request.failed for request in requests] == [True]
    s3_proxy.heal()
    monkeypatch.setattr(signs, "_again", 0.0)  # that while is over
    signs.show(NAMES)
    assert all(is_served(store, name) for name in NAMES)
    signs.show(())
    assert not any(is_served(store, name) for name in NAMES)


def test_it_is_said_again_well_before_it_is_too_old():
    assert 2 * SIGN_SECONDS < SERVED_SECONDS
