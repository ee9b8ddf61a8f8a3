"""A database on the disk with one accepted device, for tests of what is stored."""

import shutil

import pytest

from fleet.identity.ca import Issued
from fleet.store.database import Store, _engine, open_store

NOW = 1_800_000_000.0
ISSUED = Issued(pem="-", serial="1", expires_at=NOW + 1e6)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A database with the accepted device cam-1 and the revoked device gone-1, made once."""
    path = tmp_path_factory.mktemp("database") / "fleet.db"
    opened = open_store(f"sqlite:///{path}")
    with opened.write() as work:
        work.devices.add("cam-1", "lab", ISSUED, at=NOW)
        work.devices.add("gone-1", "lab", ISSUED, at=NOW)
        work.devices.revoke("gone-1", at=NOW)
        work.devices.sent(work.devices.outgoing())
    opened.close()
    return path


@pytest.fixture
def store(tmp_path, prepared):
    """A copy of the prepared database, open."""
    path = tmp_path / "fleet.db"
    shutil.copy(prepared, path)
    opened = Store(_engine(f"sqlite:///{path}"))
    yield opened
    opened.close()
