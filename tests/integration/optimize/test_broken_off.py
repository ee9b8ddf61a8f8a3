"""Runs that are interrupted or killed, and disks that take nothing: what is left of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from mien.errors import ExitCode

ROOT = Path(__file__).resolve().parents[3]
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


def command(weights, data, out):
    options = ("--calibration-images", 32, "--method", "max", "--gate", ROOT / "configs" / "gates" / "smoke.yaml")
    order = ("optimize", "run", "--weights", weights, "--data", data, "--out", out, *options)
    return [sys.executable, "-m", "mien", *map(str, order)]


def _heed_ctrl_c():
    """A shell's background job ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(order, folder):
    """The command as a process, with a folder for temporary files of its own."""
    (folder / "tmp").mkdir(exist_ok=True)
    with subprocess.Popen(
        order,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 - the tests start no threads
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _heeds(process, number):
    """Whether a process has put a handler in place."""
    caught = next(
        line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("SigCgt")
    )
    return bool(int(caught.split()[1], 16) & 1 << (number - 1))


def wait_for(process, folder, pattern):
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def left_in(folder):
    """What is left, but for the compiler cache that torch keeps in the folder for temporary files."""
    return [path.name for path in folder.iterdir() if not path.name.startswith("torchinductor_")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("made", ["", "/model.fp32.onnx", "/model.fp16.onnx", "/model.int8.onnx"])
def test_an_interrupt_at_any_moment_leaves_nothing(tmp_path, weights, data, made, number):
    """While it reads, exports, converts, quantises or judges: one line, the code of the table, nothing left."""
    (tmp_path / "out").mkdir()
    with started(command(weights, data, tmp_path / "out" / "b"), tmp_path) as process:
        wait_for(process, tmp_path / "out", f".b.*.part{made}")
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert said == "interrupted: nothing is left behind\n"
    assert left_in(tmp_path / "out") == []
    assert left_in(tmp_path / "tmp") == []


def test_an_interrupt_while_libraries_are_imported_ends_in_order(tmp_path, weights, data):
    """At several moments of the first seconds no library's start-up is torn: no abort, no traceback."""
    (tmp_path / "out").mkdir()
    for tenths in range(0, 10, 2):
        with started(command(weights, data, tmp_path / "out" / "b"), tmp_path) as process:
            while not _heeds(process.pid, signal.SIGHUP):
                time.sleep(0.01)
            time.sleep(tenths / 10)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert process.returncode == ExitCode.INTERRUPTED, said
        assert "Traceback" not in said
        assert left_in(tmp_path / "out") == []


def test_what_a_killed_run_left_is_swept_by_the_next_and_a_living_one_is_not(tmp_path, weights, data):
    """SIGKILL leaves the hidden folder. The next run with the same name removes it, and no other run's."""
    out = tmp_path / "out"
    out.mkdir()
    order = command(weights, data, out / "b")
    with started(order, tmp_path) as killed:
        wait_for(killed, out, ".b.*.part/model.fp32.onnx")
        killed.kill()
    (stale,) = left_in(out)
    assert f".b.{killed.pid}-" in stale
    with started(order, tmp_path) as first:
        wait_for(first, out, f".b.{first.pid}-*.part")
        assert stale not in left_in(out)
        with started(order, tmp_path) as second:
            wait_for(second, out, f".b.{second.pid}-*.part")
            assert len(left_in(out)) == 2, "the first is at work"


def test_a_read_only_disk_is_told_before_any_work(tmp_path, weights, data):
    """A true read-only mount, in a name space of its own: one error with a remedy, nothing written, nothing hanging."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("mounting needs root and unshare(1)")
    (tmp_path / "disk").mkdir()
    inside = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(tmp_path / "disk")]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a mount name space")
    order = [*command(weights, data, tmp_path / "disk" / "b"), "--json"]
    done = subprocess.run([*inside, *order], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
    said = json.loads(done.stdout)
    assert said["found"] == "Read-only file system"
    assert "--out" in said["remedy"]
    assert list((tmp_path / "disk").iterdir()) == []
