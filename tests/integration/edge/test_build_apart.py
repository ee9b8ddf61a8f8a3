"""Engines built in real processes of their own: how they end, and that they step back."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.building.apart import BuildApart
from edge.building.child import NICE
from edge.building.memory import memory_left
from edge.building.order import BuildOrder
from edge.engine.chooser import open_engine
from edge.update.interface import UpdateCancelled, UpdateFault
from tests.fakes.tiny_bundle import make_bundle


def order(folder: Path, model: Path) -> BuildOrder:
    return BuildOrder(model=model, engine=folder / "engine", runtime="onnxruntime", timing=folder / "timing")


def apart(
    script: str = "", *, left: Callable[[], float | None] = lambda: 1.0, cancel: threading.Event | None = None
) -> BuildApart:
    command = (sys.executable, "-c", script) if script else (sys.executable, "-m", "edge.building.child")
    return BuildApart(cancel or threading.Event(), least_memory=0.1, left=left, command=command)


def test_an_engine_is_built_and_opens(tmp_path: Path) -> None:
    """The real builder in its own process; the engine is taken up in this one."""
    make_bundle(tmp_path / "bundle")
    built = apart()(order(tmp_path, tmp_path / "bundle" / "model.fp32.onnx"))
    with open_engine(built, "onnxruntime") as engine:
        assert engine.info.runtime == "onnxruntime"


def test_it_builds_wherever_the_agent_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that lie in the working folder are not taken for ours, and paths that are relative to it hold."""
    make_bundle(tmp_path / "bundle")
    for name in ("edge", "mien"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    built = apart()(order(Path(), Path("bundle/model.fp32.onnx")))
    assert built.is_file()


def test_what_cannot_be_built_says_why(tmp_path: Path) -> None:
    """The builder's own words reach the report."""
    broken = tmp_path / "model.onnx"
    broken.write_text("no graph")
    with pytest.raises(UpdateFault) as caught:
        apart()(order(tmp_path, broken))
    assert caught.value.code == "build_failed"
    assert str(broken) in caught.value.found


def test_a_builder_steps_back_behind_the_agent(tmp_path: Path) -> None:
    """Lower priority for processor and disk, first in line when memory is gone, and it dies with the agent."""
    script = (
        "import os, json, sys; from edge.building.child import step_back; step_back();"
        "json.dump({'nice': os.nice(0), 'batch': os.sched_getscheduler(0) == os.SCHED_BATCH,"
        "'oom': int(open('/proc/self/oom_score_adj').read())}, open(sys.argv[1][:0] + 'FILE', 'w'))"
    ).replace("FILE", str(tmp_path / "told.json"))
    apart(script)(order(tmp_path, tmp_path / "model"))
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["nice"] >= min(os.nice(0) + NICE, 19)
    assert (told["batch"], told["oom"] > 0) == (True, True)


def test_a_build_ends_before_memory_is_gone(tmp_path: Path) -> None:
    """The process is ended with a named reason, within moments, and nothing else is."""
    readings = iter([0.5, 0.3])
    begun = tmp_path / "begun"
    build = apart(f"open({str(begun)!r}, 'w').close(); import time; time.sleep(600)", left=lambda: next(readings, 0.05))
    with pytest.raises(UpdateFault) as caught:
        build(order(tmp_path, tmp_path / "model"))
    assert caught.value.code == "low_memory"
    assert "5.0% free" in caught.value.found


def test_no_build_begins_where_memory_is_short_already(tmp_path: Path) -> None:
    """Not even a process is started."""
    begun = tmp_path / "begun"
    with pytest.raises(UpdateFault) as caught:
        apart(f"open({str(begun)!r}, 'w')", left=lambda: 0.01)(order(tmp_path, tmp_path / "model"))
    assert (caught.value.code, begun.exists()) == ("low_memory", False)


@pytest.mark.parametrize(
    ("script", "code", "found"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "build_failed", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "low_memory", "SIGKILL"),
        ("import sys; print('x' * 1_000_000); sys.exit(7)", "build_failed", "exit code 7"),
    ],
)
def test_a_builder_that_dies_takes_nothing_with_it(tmp_path: Path, script: str, code: str, found: str) -> None:
    """A crash of its library, the kernel's choice when memory is gone, an end without a word."""
    with pytest.raises(UpdateFault) as caught:
        apart(script)(order(tmp_path, tmp_path / "model"))
    assert caught.value.code == code
    assert found in caught.value.found


def test_a_stop_of_the_agent_ends_a_build_at_once(tmp_path: Path) -> None:
    """A builder that is deep in one of its steps does not hold up a shutdown."""
    cancel = threading.Event()
    pid = tmp_path / "pid"
    script = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    ended: list[BaseException] = []

    def build() -> None:
        try:
            apart(script, cancel=cancel)(order(tmp_path, tmp_path / "model"))
        except UpdateCancelled as error:
            ended.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.01)
    cancel.set()
    thread.join(30)
    assert len(ended) == 1
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_memory_is_that_of_the_service_where_it_has_less(tmp_path: Path) -> None:
    """Half of the machine is free, and a tenth of what the service may have, its caches not counted as used."""
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 500 kB\n")
    (tmp_path / "own").write_text("0::/system.slice/mien.service\n")
    group = tmp_path / "groups" / "system.slice" / "mien.service"
    group.mkdir(parents=True)
    paths = (tmp_path / "meminfo", tmp_path / "own", tmp_path / "groups")
    for name, text in (("max", "1000\n"), ("current", "950\n"), ("stat", "anon 900\ninactive_file 50\n")):
        (group / f"memory.{name}").write_text(text)
    assert memory_left(*paths) == pytest.approx(0.1)
    (group / "memory.max").write_text("max\n")
    assert memory_left(*paths) == 0.5
    assert memory_left(tmp_path / "none", tmp_path / "none", tmp_path / "none") is None
