"""Campaigns as tests of the ledger have it restore and claim them."""

import numpy as np

from tests.support.campaigns import nothing_done
from tests.support.ledger_play import C


def restored(units=6, per_prompt=2, **changes):
    units = len(changes.get("done", range(units)))
    return nothing_done(units // per_prompt, per_prompt, **changes)


def marked(units, *done):
    bits = np.zeros(units, dtype=np.bool_)
    bits[list(done)] = True
    return bits


def claim_one(ledger):
    """Issue one unit and claim it: its index and its token."""
    token, [index] = ledger.issue(C, 1)
    assert ledger.claim(C, index, token).outcome == "granted"
    return index, token
