"""Starting ``mien`` commands as processes of their own, and leaving none behind.

Every child gets a session of its own, so that Ctrl-C reaches only the demo, which then ends its children in order; and
the kernel ends a child whose parent was killed (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mien.endings import end_with_parent
from mien.errors import ExitCode, InternalError, MienError

if TYPE_CHECKING:
    from typing_extensions import Self

_GRACE_S = 15.0


class StepError(MienError):
    """A command of the demo failed; carries its exit code and its own words."""

    def __init__(self, command: str, code: int, answer: dict[str, Any]) -> None:
        super().__init__(
            str(answer.get("what") or f"'mien {command}' failed with exit code {code}"),
            found=str(answer.get("found", "")),
            wanted=str(answer.get("wanted", "")),
            remedy=str(answer.get("remedy", "")) or f"run it by itself to see more: mien {command}",
        )
        known = {int(member) for member in ExitCode}
        self.exit_code = ExitCode(code) if code in known else ExitCode.INTERNAL


def mien_command(arguments: Sequence[str]) -> list[str]:
    """The command line that runs ``mien`` with this interpreter."""
    return [sys.executable, "-m", "mien", *arguments]


class Children:
    """The processes of one demo; leaving the ``with`` block ends all of them, last started first."""

    def __init__(self, cwd: Path) -> None:
        self._cwd = cwd
        self._running: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._running):
            _ask_to_end(child)
        for child in reversed(self._running):
            _make_sure(child)

    def background(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[str]:
        """Start a command that stays; its output goes to ``log``."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as stream:
            return self._start(arguments, stdout=stream, stderr=subprocess.STDOUT)

    def step(self, arguments: Sequence[str], *, accept: frozenset[int] = frozenset({0})) -> dict[str, Any]:
        """Run a command to its end and return its JSON answer; its progress shows on this terminal.

        Raises:
            StepError: it ended with a code that is not in ``accept``.
            InternalError: it succeeded but answered no JSON.
        """
        child = self._start([*arguments, "--json"], stdout=subprocess.PIPE, stderr=None)
        answer_text, _ = child.communicate()
        self._running.remove(child)
        answer = _parsed(answer_text)
        command = " ".join(arguments)
        if child.returncode not in accept:
            raise StepError(command, child.returncode, answer or {})
        if answer is None:
            raise InternalError(f"'mien {command}' answered no JSON", found=answer_text[:200])
        return answer

    def _start(
        self, arguments: Sequence[str], *, stdout: int | IO[str] | None, stderr: int | None
    ) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            mien_command(arguments),
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - the demo starts no threads
        )
        self._running.append(child)
        return child


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _ask_to_end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.terminate()


def _make_sure(child: subprocess.Popen[str]) -> None:
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
