"""Asks a program or a library in a process of its own: what crashes or hangs there does neither to the doctor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from edge.doctor.seen import Answer

_MOST_ERROR = 160


def program(command: Sequence[str], *, limit_s: float = 5.0) -> Answer:
    """What a command printed, or why it did not."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=limit_s, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return Answer(error=f"there is no {command[0]}")
    except OSError as error:
        return Answer(error=error.strerror or str(error))
    except subprocess.TimeoutExpired:
        return Answer(error=f"no answer within {limit_s:.0f} s")
    if done.returncode != 0:
        return Answer(error=_last_line(done.stderr) or _last_line(done.stdout) or f"ended with {done.returncode}")
    return Answer(value=done.stdout.strip())


def python(code: str, *, limit_s: float = 30.0) -> Answer:
    """What a piece of Python printed last, in this environment."""
    answer = program([sys.executable, "-c", code], limit_s=limit_s)
    return answer if answer.value is None else Answer(value=_last_line(answer.value))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip()[:_MOST_ERROR] if lines else ""
