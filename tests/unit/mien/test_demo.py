"""The demo's own decisions: what it refuses to start on, how it arranges figures, and that it leaves no process."""

import os
import signal
import socket
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from mien.config import read_settings
from mien.demo.preflight import check_disk, check_port, only_one
from mien.demo.processes import Children, StepError
from mien.demo.run import _judge
from mien.demo.settings import ROOT, AccuracySettings, DemoSettings, read_demo
from mien.demo.summary import device_row, tables
from mien.errors import ConfigError, ExitCode, GateError, UnavailableError


def window(fps, *, frames=10, **power):
    return {"frames": frames, "fps": fps, "latency_ms": {"total": {"p95": 5.0}}, "power": {"source": "replay", **power}}


def rollout(version, state, *, reached=3, succeeded=3, rolled_back=0):
    return {
        "release": f"faces@{version}",
        "state": state,
        "devices_reached": reached,
        "devices_succeeded": succeeded,
        "devices_rolled_back": rolled_back,
        "halted_because": None,
        "seconds": 1.0,
    }


GOOD = [rollout("1.0.0", "finished"), rollout("1.1.0", "finished")]
LIMITS = AccuracySettings(min_map50=0.8, max_int8_loss=0.01)
VARIANTS = [
    {"release": "faces@1.1.0", "precision": "fp32", "map50": 0.9, "map50_95": 0.7},
    {"release": "faces@1.1.0", "precision": "int8", "map50": 0.9, "map50_95": 0.695},
]
HALTED = rollout("1.2.0", "stopped", reached=1, succeeded=0, rolled_back=1)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs" / "demo").glob("*.yaml")))
def test_every_profile_loads_and_names_files_that_exist(name):
    """A profile of the demo points only at configuration that is there."""
    settings = read_demo(name)
    for path in (settings.training, settings.optimize.gate, settings.rollouts.everyone, settings.rollouts.careful):
        assert (ROOT / path).is_file(), path


def test_an_unknown_profile_is_one_sentence():
    """A wrong name does not become a traceback."""
    with pytest.raises(ConfigError, match="no such file"):
        read_demo("none")


def test_a_fault_in_a_profile_is_refused(tmp_path):
    """Unknown keys of the demo's settings are refused as everywhere."""
    (tmp_path / "x.yaml").write_text("sed: 7\n")
    with pytest.raises(ConfigError, match="did you mean seed"):
        read_settings(DemoSettings, tmp_path / "x.yaml")


def test_a_taken_port_is_named_with_a_free_choice():
    """Whoever has the port in use learns which option to give."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UnavailableError, match=r"in use.*--http-port"):
            check_port(taken.getsockname()[1], "--http-port")


def test_too_little_disk_is_refused(tmp_path):
    """The demo does not start what it cannot finish."""
    with pytest.raises(UnavailableError, match="too little disk"):
        check_disk(tmp_path, 1 << 40)


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path):
    """Two demos never write into one folder; afterwards it is free again."""
    with only_one(tmp_path), pytest.raises(UnavailableError, match="another demo"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_a_failed_step_carries_the_steps_own_error(tmp_path):
    """The exit code and the sentence of the command come through."""
    with Children(tmp_path) as children, pytest.raises(StepError) as caught:
        children.step(["train", "data", "check", str(tmp_path / "none.yaml")])
    assert caught.value.exit_code == ExitCode.CONFIG
    assert "none.yaml" in caught.value.what


def test_children_end_with_their_block(tmp_path):
    """Leaving the block ends a background process."""
    with Children(tmp_path) as children:
        child = children.background(["--help"], tmp_path / "log")
    assert child.poll() is not None


def test_children_end_with_a_parent_that_was_killed(tmp_path):
    """Even SIGKILL of the demo leaves no process behind."""
    script = (
        "import sys,time\nfrom pathlib import Path\nimport mien.demo.processes as p\n"
        "p.mien_command=lambda a:[sys.executable,'-c','import time; time.sleep(60)']\n"
        "c=p.Children(Path('.')).background([],Path(sys.argv[1]))\nprint(c.pid,flush=True)\ntime.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not _alive(child):
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


def _alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_device_row_is_the_median_of_windows_with_frames():
    """Idle windows do not count; power keeps the name of its source."""
    row = device_row(
        {"id": "c", "release": "f@1.0.0"}, [window(8, total_w=4), window(10, total_w=6), window(0, frames=0)]
    )
    assert (row["fps"], row["power_w"], row["power_source"]) == (9, 5, "replay")


def test_power_that_is_not_there_is_absent_not_zero():
    """Without a source the figures are null and the source says none."""
    row = device_row({"id": "c"}, [{"frames": 1, "fps": 5.0, "power": {"source": "none"}}])
    assert (row["power_w"], row["energy_j_per_inference"], row["power_source"]) == (None, None, "none")


@pytest.mark.parametrize(
    "rollouts",
    [
        [*GOOD, rollout("1.2.0", "finished")],
        [*GOOD, rollout("1.2.0", "stopped", reached=2, succeeded=0, rolled_back=1)],
        [*GOOD, rollout("1.2.0", "stopped", reached=1, succeeded=0, rolled_back=0)],
        [GOOD[0], rollout("1.1.0", "paused", reached=1, succeeded=1), HALTED],
    ],
)
def test_a_demo_that_breaks_its_promise_fails(rollouts):
    """A bad release that got further than its canary, or a good one that got stuck, is an error."""
    with pytest.raises(GateError):
        _judge({"devices": [1, 2, 3], "rollouts": rollouts, "variants": VARIANTS}, LIMITS)


@pytest.mark.parametrize(
    "variants",
    [
        [{"release": "faces@1.1.0", "precision": "fp32", "map50": 0.79, "map50_95": 0.6}],
        [
            {"release": "faces@1.1.0", "precision": "fp32", "map50": 0.9, "map50_95": 0.7},
            {"release": "faces@1.1.0", "precision": "int8", "map50": 0.9, "map50_95": 0.68},
        ],
    ],
)
def test_a_demo_whose_model_is_poor_fails(variants):
    """Too little accuracy, or too much lost to INT8, is an error however well the rollouts went."""
    with pytest.raises(GateError, match="accuracy"):
        _judge({"devices": [1, 2, 3], "rollouts": [*GOOD, HALTED], "variants": variants}, LIMITS)


def test_a_demo_that_keeps_its_promise_passes_and_shows_it():
    """Two releases everywhere, the third taken back; the tables hold every row."""
    summary = {
        "variants": [
            {
                "release": "f@1.0.0",
                "precision": "int8",
                "path": "model.int8.onnx",
                "map50": 0.9,
                "map50_95": 0.7,
                "size_bytes": 3e6,
                "latency_ms": 2.0,
            }
        ],
        "devices": [device_row({"id": f"c{n}", "release": "f"}, [window(9)]) for n in range(3)],
        "rollouts": [*GOOD, {**HALTED, "halted_because": "probe failed"}],
    }
    _judge(summary | {"variants": VARIANTS}, LIMITS)
    console = Console(record=True, width=140, file=StringIO())
    console.print(tables(summary))
    shown = console.export_text()
    assert all(word in shown for word in ("int8", "3.00 MB", "c2", "replay", "probe failed"))
