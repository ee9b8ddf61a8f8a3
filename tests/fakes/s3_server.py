"""A real HTTP server with S3's interface, as a process of its own, and what a bucket in it holds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

FOLDER = Path(__file__).parents[2] / ".venv" / "s3-server"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


class S3Server:
    """Answers on a free port of the loopback interface until it is closed."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                stdout=stream,
                stderr=stream,
                env={**os.environ, "PYTHONPATH": str(FOLDER)},
            )
        self._wait(log)

    def make_bucket(self, name: str, *, readable: bool = True) -> None:
        """Make a bucket that everybody may read, as one behind a static host."""
        httpx.put(f"{self.url}/{name}").raise_for_status()
        if readable:
            policy = (
                '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", '
                f'"Action": "s3:GetObject", "Resource": "arn:aws:s3:::{name}/*"}}]}}'
            )
            httpx.put(f"{self.url}/{name}?policy", content=policy).raise_for_status()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)

    def _wait(self, log: Path) -> None:
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s and self._process.poll() is None:
            try:
                httpx.get(f"{self.url}/moto-api/", timeout=2)
            except httpx.HTTPError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"the S3 server did not start:\n{log.read_text()}")
