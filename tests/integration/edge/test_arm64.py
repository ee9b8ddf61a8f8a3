"""The device's packages on arm64, under qemu's user emulation: installed and imported, not timed.

``MIEN_ARM64_ROOTFS`` names the root of an arm64 Debian or Ubuntu with python3 and python3-venv, which this machine's
kernel can run (binfmt_misc with qemu-user-static). docs/runbooks/device.md says how to make one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.fakes.device_install import LOOK, PINS, TOO_HEAVY, device_wheel, look_of, run

_ROOTFS = Path(os.environ.get("MIEN_ARM64_ROOTFS", ""))
_PLACE = "opt/mien-test"

pytestmark = [
    pytest.mark.arm64,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("MIEN_ARM64_ROOTFS" not in os.environ, reason="set MIEN_ARM64_ROOTFS to an arm64 system"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its root folder"),
]


_MOUNTS = (
    'mount --rbind /proc "$0/proc" && mount --rbind /sys "$0/sys" && exec chroot "$0" /usr/bin/env HOME=/root "$@"'
)
"""onnxruntime asks both what the processor is, and does not start where neither answers."""


def _inside(*command: str, timeout_s: float = 900) -> str:
    away = ["unshare", "-m", "--propagation", "private", "sh", "-c", _MOUNTS, str(_ROOTFS)]
    return run([*away, *command], timeout_s=timeout_s)


def test_the_extra_installs_and_imports_on_arm64(tmp_path: Path) -> None:
    """Every module of the device is imported there; onnxruntime is found, and nothing heavy."""
    assert _inside("uname", "-m").strip() == "aarch64"
    place = _ROOTFS / _PLACE
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    wheel = device_wheel(tmp_path)
    shutil.copy(wheel, place)
    shutil.copy(PINS, place / "device.txt")
    _inside("python3", "-m", "venv", f"/{_PLACE}/venv")
    python = f"/{_PLACE}/venv/bin/python"
    settings = [name for name in ("PIP_INDEX_URL", "PIP_CERT", "PIP_TRUSTED_HOST") if name in os.environ]
    told = [f"{name}={os.environ[name]}" for name in settings]
    asked = ["install", "--quiet", "-c", f"/{_PLACE}/device.txt", f"mien[edge] @ file:///{_PLACE}/{wheel.name}"]
    _inside(*told, python, "-m", "pip", *asked)
    found = look_of(_inside(python, "-c", LOOK))
    print({name: found[name] for name in ("python", "machine", "modules")}, found["packages"])  # noqa: T201
    assert (found["machine"], found["arch"], found["runtimes"]) == ("aarch64", "aarch64", ["onnxruntime"])
    assert not (set(found["packages"]) | set(found["loaded"])) & TOO_HEAVY
    assert '"arch": "aarch64"' in _inside(f"/{_PLACE}/venv/bin/mien", "edge", "facts", "--json")
