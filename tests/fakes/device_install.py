"""Installs mien as a device does: a wheel of the device's packages alone, the extra ``edge``, the pinned versions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "requirements" / "device.txt"
TOO_HEAVY = frozenset(
    {
        *("torch", "torchvision", "ultralytics", "onnx", "onnxslim", "pandas", "scipy", "matplotlib", "polars"),
        *("tensorflow", "sqlalchemy", "tensorrt", "nvidia-modelopt", "pycuda"),
    }
)
"""What a device must not be made to install; TensorRT comes from JetPack, never from pip."""

LOOK = """
import importlib, json, pkgutil, platform, sys
from importlib import metadata
import edge, mien
names = [m.name for p in (mien, edge) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
names = [n for n in names if not n.endswith("__main__")]
for name in names:
    importlib.import_module(name)
from edge.facts import read_facts
facts = read_facts()
from mien.devices import device_names, jetpack_table
print(json.dumps({
    "python": platform.python_version(), "machine": platform.machine(), "modules": len(names),
    "packages": {d.metadata["Name"].lower(): d.version for d in metadata.distributions()},
    "loaded": sorted(name for name in sys.modules if "." not in name),
    "jetpacks": len(jetpack_table()), "classes": len(device_names()),
    "runtimes": facts.runtimes(), "os": facts.os, "arch": facts.arch,
}))
"""
"""Imports every module of the device, and says what was there."""


def device_wheel(folder: Path) -> Path:
    """A wheel of what a device gets, built from a copy of the same files as Dockerfile.jetson takes."""
    source = folder / "src"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("mien", "edge", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(source)], timeout_s=300)
    return next(folder.glob("mien-*.whl"))


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def run(command: Sequence[str], *, timeout_s: float) -> str:
    """Run a command and return what it printed; its last words on failure."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, (done.stderr or done.stdout)[-3000:]
    return done.stdout


def look_of(printed: str) -> Any:
    """What :data:`LOOK` found; other programs may have spoken before it."""
    return json.loads(printed.strip().splitlines()[-1])
