"""A device installs little: what the extra ``edge`` brings, on each Python that a JetPack or a laptop has."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.fakes.device_install import LOOK, PINS, TOO_HEAVY, device_wheel, look_of, run, size_of

_MOST_BYTES = 700 << 20
_PYTHONS = os.environ.get("MIEN_TEST_PYTHONS", "").split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device's wheel."""
    return device_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_pins_of_a_device_hold_nothing_heavy() -> None:
    """They are resolved for every Python and machine at once, with the extras edge and jetson."""
    names = {re.split(r"[=<>;\[ ]", line)[0].lower() for line in PINS.read_text().splitlines() if line.strip()}
    assert {"numpy", "opencv-python", "onnxruntime", "paho-mqtt", "jetson-stats"} <= names
    assert not names & TOO_HEAVY


@pytest.mark.slow
def test_the_extra_resolves_to_the_pins(wheel: Path, tmp_path: Path) -> None:
    """Pip, asked what it would install for the extra edge alone, names pinned packages and no heavy one."""
    report = tmp_path / "report.json"
    asked = ["-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report)]
    run([sys.executable, *asked, "-c", str(PINS), f"mien[edge] @ {wheel.as_uri()}"], timeout_s=300)
    wanted = json.loads(report.read_text())["install"]
    names = {entry["metadata"]["name"].lower().replace("_", "-") for entry in wanted}
    pinned = {re.split(r"[=<>;\[ ]", line)[0].lower() for line in PINS.read_text().splitlines()}
    assert not names & TOO_HEAVY
    assert names - pinned == {"mien"}


@pytest.mark.slow
@pytest.mark.skipif(not _PYTHONS, reason="set MIEN_TEST_PYTHONS to interpreters, such as 'python3.10 python3.12'")
@pytest.mark.parametrize("python", _PYTHONS or ["python3"])
def test_it_installs_and_imports_on(python: str, wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own: every module of the device is imported, and a runtime is found."""
    place = tmp_path / "venv"
    run([python, "-m", "venv", str(place)], timeout_s=120)
    inside = str(place / "bin" / "python")
    before = size_of(place)
    run(
        [inside, "-m", "pip", "install", "--quiet", "-c", str(PINS), f"mien[edge] @ {wheel.as_uri()}"],
        timeout_s=900,
    )
    found = look_of(run([inside, "-c", LOOK], timeout_s=120))
    grown = size_of(place) - before
    print(f"Python {found['python']}: {grown / 2**20:.0f} MiB, {len(found['packages'])} packages")  # noqa: T201
    assert found["runtimes"] == ["onnxruntime"]
    assert not (set(found["packages"]) | set(found["loaded"])) & TOO_HEAVY
    assert grown < _MOST_BYTES
    assert found["jetpacks"] > 10
    assert found["classes"] > 10
    assert (place / "share" / "mien" / "configs" / "systemd" / "mien-edge.service").is_file()
    run([str(place / "bin" / "mien"), "edge", "doctor", "--help"], timeout_s=60)
