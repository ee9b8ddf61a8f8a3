"""A database on the disk with one accepted device, for tests of what is stored."""

import pytest

from fleet.identity.ca import Issued
from fleet.store.database import open_store

NOW = 1_800_000_000.0
ISSUED = Issued(pem="-", serial="1", expires_at=NOW + 1e6)


@pytest.fixture
def store(tmp_path):
    """A store with the accepted device cam-1 and the revoked device gone-1."""
    opened = open_store(f"sqlite:///{tmp_path / 'fleet.db'}")
    with opened.write() as work:
        work.devices.add("cam-1", "lab", ISSUED, at=NOW)
        work.devices.add("gone-1", "lab", ISSUED, at=NOW)
        work.devices.revoke("gone-1", at=NOW)
        work.devices.sent(work.devices.outgoing())
    yield opened
    opened.close()
