import uuid

import pytest

from tests.support import azurite as azure
from tests.support.ledger_campaigns import restored
from tests.support.ledger_play import C


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    """A real server of Azure's blob protocol for this test session, with the container `tests`."""
    folder = tmp_path_factory.mktemp("azurite")
    with azure.azurite(folder) as server, pytest.MonkeyPatch.context() as environment:
        if server is None:
            pytest.skip("azurite-blob is not installed; npm has it (`npm install azurite`).")
        environment.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
        environment.setenv("AZURITE_BLOB_STORAGE_URL", server)
        azure.create_container(server, "tests")
        yield server


@pytest.fixture
def azure_url(azurite):
    """The URL of an empty store in Azure."""
    return f"az://tests/{uuid.uuid4().hex}/é?account={azure.ACCOUNT}"


@pytest.fixture
def small(ledger):
    """A ledger with one campaign of six units, three prompts of two."""
    ledger.restore(C, restored())
    return ledger
