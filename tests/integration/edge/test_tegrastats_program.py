"""The program ``tegrastats``, played by another, as a source of power."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.power.interface import PowerError
from edge.power.ladder import SELDOM_S, Ladder, Rung
from edge.power.none import NoPower
from edge.power.tegrastats import Tegrastats
from tests.fakes.jetson_sysfs import JetsonSysfs
from tests.fakes.power_recordings import recorded_lines
from tests.fakes.update_world import FakeClock


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program named tegrastats on the path; it runs the given Python, which has ``say`` and ``forever``."""

    def install(body: str) -> None:
        file = tmp_path / "bin" / "tegrastats"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"#!{sys.executable}\nimport os, signal, sys, time\n"
            f"LINES = {recorded_lines('orin-nano')!r}\n"
            "def say(text):\n    print(text, flush=True)\n"
            "def forever():\n    time.sleep(600)\n"
            f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n{body}\n"
        )
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(file.parent))

    return install


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_program_is_read_and_ended(program: Callable[[str], None], tmp_path: Path) -> None:
    """Its line becomes a reading, with what sysfs adds; after close it is gone."""
    program("say('a greeting')\nsay(LINES[0])\nforever()")
    sysfs = JetsonSysfs(tmp_path / "sys")
    sysfs.cooling(0, "gpu-throttle-alert", 1)
    source = Tegrastats(1.0, sysfs.root)
    sample = source.read()
    assert sample is not None
    assert (sample.total_w, sample.throttled, sample.alarms) == (12.479, True, ("gpu-throttle-alert",))
    pid = int((tmp_path / "pid").read_text())
    assert _runs(pid)
    source.close()
    assert not _runs(pid)


def test_a_program_that_will_not_end_is_killed(program: Callable[[str], None], tmp_path: Path) -> None:
    """Close leaves nothing behind, whatever the program thinks of SIGTERM."""
    program("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay(LINES[0])\nforever()")
    source = Tegrastats(1.0, tmp_path)
    source.close()
    assert not _runs(int((tmp_path / "pid").read_text()))


def test_a_program_that_died_is_noticed(program: Callable[[str], None], tmp_path: Path) -> None:
    """No old line passes for a new one; the error repeats its last words."""
    program("say(LINES[0])\nsys.stdin.read()\nsay('Segmentation fault')")
    source = Tegrastats(1.0, tmp_path)
    with pytest.raises(PowerError, match="tegrastats ended") as caught:
        for _ in range(200):
            source.read()
            time.sleep(0.02)
    assert caught.value.found == "Segmentation fault"
    source.close()


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("say('cannot open /dev/nvmap')", "gives no figures.*cannot open"),
        ("say('RAM 1/2MB (lfb 1x1MB) CPU [1%@729] cpu@40C')\nforever()", "no power rails to this user"),
    ],
)
def test_a_program_that_is_no_use_is_refused(
    program: Callable[[str], None], tmp_path: Path, body: str, what: str
) -> None:
    """One that ends at once or hides its rails is no source of power, and does not stay behind."""
    program(body)
    with pytest.raises(PowerError, match=what):
        Tegrastats(1.0, tmp_path)
    assert not _runs(int((tmp_path / "pid").read_text()))


def test_a_program_that_was_killed_is_started_again(program: Callable[[str], None], tmp_path: Path) -> None:
    """The ladder falls to the next source, and after a while starts the program anew; nothing of either stays behind."""
    program("say(LINES[0])\nforever()")
    clock = FakeClock()
    rungs = [Rung("tegrastats", lambda: Tegrastats(1.0, tmp_path)), Rung("none", lambda: NoPower(tmp_path))]
    ladder = Ladder(rungs, clock=clock)
    first = int((tmp_path / "pid").read_text())
    os.kill(first, signal.SIGKILL)
    for _ in range(200):
        ladder.read()
        if ladder.name == "none":
            break
        time.sleep(0.02)
    assert ladder.name == "none"
    clock.now += SELDOM_S
    sample = ladder.read()
    assert sample is not None
    assert (ladder.name, sample.total_w) == ("tegrastats", 12.479)
    second = int((tmp_path / "pid").read_text())
    ladder.close()
    assert first != second
    assert not _runs(first)
    assert not _runs(second)
