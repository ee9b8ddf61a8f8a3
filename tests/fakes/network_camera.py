"""A network camera as its own process, on one port for good: it can be switched off, replaced, and made to hang."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
BINDINGS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
USER, PASSWORD = "eye", "open-sesame"


@dataclass
class NetworkCamera:
    """An RTSP server."""

    port: int
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where it is found, with user and password."""
        return f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/cam"

    def switch_on(self, *options: str) -> None:
        """Start it and wait until it listens."""
        command = [SYSTEM_PYTHON, str(SERVER), "--port", str(self.port), "--user", USER, "--password", PASSWORD]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "listening\n"

    def switch_off(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate(timeout=10)
            self.process = None

    @contextmanager
    def hung(self) -> Iterator[None]:
        """While the block runs, its connections stay open and nothing comes or is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


def need_server() -> None:
    """Skip the test where GStreamer's RTSP server is not installed."""
    if subprocess.run([SYSTEM_PYTHON, "-c", BINDINGS], capture_output=True, check=False).returncode:
        pytest.skip("GStreamer's RTSP server is not installed: make test installs it")
