"""How an interrupt ends a command."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien.errors import ExitCode

ROOT = Path(__file__).resolve().parents[3]
START = "import sys, time\nfrom pathlib import Path\nfrom mien import endings\nendings.end_in_order()\n"
HALF_MADE = """
folder = Path(sys.argv[1]) / "part"
with endings.removed_when_interrupted(folder):
    folder.mkdir()
    (folder / "model").write_text("half")
    print("on", flush=True)
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
"""
IMPORTING = """
sys.path.insert(0, sys.argv[1])
with endings.interrupts_unwind():
    try:
        import slow
        time.sleep(600)
    except KeyboardInterrupt:
        print(hasattr(slow, "whole"))
"""


def interrupted(code, folder, number, wait=0.0):
    """Send a signal to a process once it says that it is ready."""
    options = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), "text": True}
    command = [sys.executable, "-c", START + code, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        assert process.stdout.readline() == "on\n"
        time.sleep(wait)
        process.send_signal(number)
        said, complained = process.communicate(timeout=60)
    return process.returncode, said, complained


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_half_made_work_vanishes_whatever_the_libraries_do(tmp_path, number):
    """A block that swallows every exception ends all the same: one line, the code of the table, nothing left."""
    code, _, complained = interrupted(HALF_MADE, tmp_path, number)
    assert code == ExitCode.INTERRUPTED
    assert complained == "interrupted: nothing is left behind\n"
    assert list(tmp_path.iterdir()) == []


def test_an_import_is_not_interrupted(tmp_path):
    """A module that is being imported is imported whole; then the interrupt is raised."""
    (tmp_path / "slow.py").write_text("import time\nprint('on', flush=True)\ntime.sleep(1)\nwhole = True\n")
    code, said, complained = interrupted(IMPORTING, tmp_path, signal.SIGINT, wait=0.1)
    assert (code, said, complained) == (0, "True\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_before_a_command_begins_an_interrupt_ends_the_process(tmp_path, number):
    """Nobody would catch an exception yet: no traceback and no death by the signal, but the code of the table."""
    code, said, complained = interrupted("print('on', flush=True)\ntime.sleep(600)\n", tmp_path, number)
    assert (code, said, complained) == (ExitCode.INTERRUPTED, "", "interrupted\n")


def test_an_ignored_signal_stays_ignored(tmp_path):
    """As under nohup."""
    code = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nendings.end_in_order()\nsignal.raise_signal(signal.SIGHUP)\nprint('alive')"
    done = subprocess.run(
        [sys.executable, "-c", START + code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "alive\n"
