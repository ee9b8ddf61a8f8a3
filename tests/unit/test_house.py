"""Rules of the house that no linter knows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mien", "edge", "trainer", "optimize", "fleet")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LONGEST_FUNCTION, LONGEST_FILE = 60, 450

# Decisions: they take values and return values, and import nothing that could touch the world.
PURE = [
    *(f"fleet/people/{name}.py" for name in ("approval", "chain", "roles")),
    *("mien/windows.py", "edge/update/timetable.py", "edge/transport/retry.py"),
    *("mien/streams.py", "edge/transport/stream_plan.py", "edge/transport/way_choice.py", "fleet/streams/queue.py"),
    *("mien/lifecycle.py", "mien/release.py", "mien/topics.py", "mien/messages.py", "mien/demo/summary.py"),
    *(f"edge/doctor/verdicts/{name}.py" for name in ("stack", "board", "place", "reach")),
    *("edge/liveness.py", "edge/doctor/finding.py", "edge/doctor/seen.py"),
    *("edge/camera/stamps.py", "edge/camera/v4l2/formats.py", "edge/camera/gstreamer/pipelines.py"),
    *("edge/update/probe.py", "edge/telemetry/window.py", "edge/vision/nms.py", "edge/vision/detections.py"),
    *(f"edge/engine/tensorrt/{name}.py" for name in ("capabilities", "workspace", "inspector")),
    *(f"edge/faces/{name}.py" for name in ("association", "events", "interface", "motion", "smoothing", "tracker")),
    *("edge/limits/policy.py", "mien/engines.py", "fleet/engines/checks.py", "fleet/engines/savings.py"),
    *("fleet/engines/states.py", "fleet/registry/mirror_plan.py"),
    *(
        "fleet/rollouts/planner.py",
        *(f"fleet/rollouts/analysis{part}.py" for part in ("", "_evidence", "_levels", "_spreads", "_values")),
        *(f"fleet/experiments/{name}.py" for name in ("assignment", "bandit", "planner", "explain", "states")),
        *(f"fleet/statistics/{name}.py" for name in ("ranks", "distributions", "many")),
        *(f"fleet/rollouts/{name}.py" for name in ("admission", "joining", "preview", "standing", "tally", "turns")),
        "fleet/rollouts/cohorts.py",
        "fleet/rollouts/states.py",
    ),
    *(
        "optimize/plan.py",
        "optimize/release_name.py",
        "optimize/estimate.py",
        "optimize/outlook.py",
        "optimize/performance_page.py",
    ),
]
WORLD = {
    *("socket", "subprocess", "threading", "time", "os", "pathlib", "sqlite3", "random", "httpx", "paho", "fastapi"),
    *("sqlalchemy", "cv2", "torch", "onnxruntime", "tensorrt", "urllib", "tempfile", "shutil"),
}


def _name(path):
    return path.relative_to(ROOT).as_posix()


def _functions(path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _code_lines(function, lines):
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    block = lines[body[0].lineno - 1 : body[-1].end_lineno]
    return sum(1 for line in block if line.strip() and not line.strip().startswith("#"))


@pytest.mark.parametrize("path", [path for path in MODULES if "versions" not in path.parts], ids=_name)
def test_no_file_or_function_grows_out_of_sight(path):
    """A file is read in one sitting, a function on one screen; a migration is a list of tables and may be long."""
    lines = path.read_text().splitlines()
    assert len(lines) <= LONGEST_FILE
    long = {f.name: n for f in _functions(path) if (n := _code_lines(f, lines)) > LONGEST_FUNCTION}
    assert not long


@pytest.mark.parametrize("name", PURE)
def test_decisions_do_not_touch_the_world(name):
    """Modules that decide import no clock, disk, socket, thread or engine."""
    tree = ast.parse((ROOT / name).read_text())
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & WORLD


def test_nobody_catches_everything():
    """A bare or blind except hides faults; the few supervisor loops say so with their own marker."""
    blind = []
    for path in MODULES:
        lines = path.read_text().splitlines()
        blind += [
            f"{_name(path)}:{number}"
            for number, line in enumerate(lines, 1)
            if line.strip().startswith(("except:", "except Exception", "except BaseException"))
            and "supervisor" not in line
        ]
    assert not [place for place in blind if not place.startswith("mien/cli.py")]


def test_packages_say_what_they_are():
    """Every package folder has a docstring that a newcomer can read."""
    missing = [
        _name(path)
        for path in MODULES
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not missing
