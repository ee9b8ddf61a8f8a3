"""A real PostgreSQL for the tests: in a folder of its own, on a Unix socket alone, run by a user without rights."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

USER = "mien"
_SETTINGS = ("listen_addresses=", "max_connections=60", "shared_buffers=64MB", "timezone=UTC")


class PostgresServer:
    """Runs until it is stopped.

    Args:
        durable: whether a commit waits for the disk, as it does by default; tests need not.
        settings: further ones, ``name=value``.
    """

    def __init__(self, *, durable: bool = False, settings: tuple[str, ...] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mien-pg-", dir="/tmp"))
        self._programs = programs()
        self._settings = (*_SETTINGS, *(() if durable else ("fsync=off", "synchronous_commit=off")), *settings)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> PostgresServer:
        """Make the database and wait until it answers."""
        as_user = _plain_user()
        if as_user:
            shutil.chown(self.folder, as_user["user"])
        data = self.folder / "data"
        if not data.exists():
            options = ("--encoding", "UTF8", "--locale", "C", "--auth", "trust", "--username", USER)
            self._run("initdb", "--pgdata", str(data), "--no-sync", *options)
        command = [str(self._programs / "postgres"), "-D", str(data), "-k", str(self.folder)]
        for setting in self._settings:
            command += ["-c", setting]
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **as_user)
        self._run("pg_isready", "--host", str(self.folder), "--timeout", "20", patient=True)
        return self

    def stop(self) -> None:
        """End it and remove its folder."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """Pull the plug; :meth:`start` recovers what was committed."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)
        self._process = None

    def url(self, name: str) -> str:
        """Of a database."""
        return f"postgresql+psycopg://{USER}@/{name}?host={self.folder}"

    def make(self, name: str, *, like: str = "template1", encoding: str | None = None) -> str:
        """Make a database as a copy of another one; its URL."""
        extra = f" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0" if encoding else f" TEMPLATE {like}"
        with psycopg.connect(host=str(self.folder), user=USER, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{extra}".encode())
        return self.url(name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        with psycopg.connect(host=str(self.folder), user=USER, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())

    def _run(self, program: str, *arguments: str, patient: bool = False) -> None:
        command = [str(self._programs / program), *arguments]
        for _ in range(200 if patient else 1):
            done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **_plain_user())
            if done.returncode == 0:
                return
            if self._process is not None and self._process.poll() is not None:
                break
        raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")


def programs() -> Path:
    """Where PostgreSQL's programs are, the newest version's.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = [Path(path).resolve().parent for path in (shutil.which("initdb"),) if path]
    found += [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        raise FileNotFoundError("PostgreSQL is not installed: make test installs it")
    return max(found, key=lambda path: int((re.findall(r"\d+", path.parent.name) or ["0"])[0]))


def _plain_user() -> dict[str, Any]:
    """PostgreSQL refuses to be run by root: the user that its package made, or nobody."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
