"""A database with one accepted device, for tests of what is stored: each test runs on SQLite and on PostgreSQL."""

import itertools
import shutil

import pytest

from fleet.identity.ca import Issued
from fleet.store.database import Store, _engine, open_store
from tests.fakes.postgres_server import PostgresServer, programs

NOW = 1_800_000_000.0
ISSUED = Issued(pem="-", serial="1", expires_at=NOW + 1e6)
_numbers = itertools.count()


def fill(url):
    """A database with the accepted device cam-1 and the revoked device gone-1."""
    opened = open_store(url)
    with opened.write() as work:
        work.devices.add("cam-1", "lab", ISSUED, at=NOW)
        work.devices.add("gone-1", "lab", ISSUED, at=NOW)
        work.devices.revoke("gone-1", at=NOW)
        work.devices.sent(work.devices.outgoing())
    opened.close()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A filled database of SQLite, made once."""
    path = tmp_path_factory.mktemp("database") / "fleet.db"
    fill(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres():
    """A running PostgreSQL with the filled database ``prepared``."""
    try:
        programs()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    server = PostgresServer()
    try:
        server.start()
        fill(server.make("prepared"))
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path):
    """The URL of a filled database of the test's own."""
    if request.param == "sqlite":
        path = tmp_path / "fleet.db"
        shutil.copy(request.getfixturevalue("prepared"), path)
        yield f"sqlite:///{path}"
        return
    server, name = request.getfixturevalue("postgres"), f"test{next(_numbers)}"
    yield server.make(name, like="prepared")
    server.drop(name)


@pytest.fixture
def store(store_url):
    """That database, open."""
    opened = Store(_engine(store_url))
    yield opened
    opened.close()
