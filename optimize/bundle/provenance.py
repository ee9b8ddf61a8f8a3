"""Where a bundle comes from: commit, data, training run, tools, licences."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mien import __version__
from mien.errors import ConfigError
from mien.release import Provenance

_TOOLS = ("torch", "ultralytics", "onnx", "onnxruntime", "nvidia-modelopt", "onnxslim", "numpy", "opencv-python")
_LICENCES = {"model": "AGPL-3.0-or-later", "ultralytics": "AGPL-3.0"}


def provenance(*, weights_sha256: str, data_sha256: str, record: Mapping[str, Any]) -> Provenance:
    """Collect what is known.

    Args:
        weights_sha256: of the weights' bytes.
        data_sha256: the data set's version.
        record: what the training record tells, see :func:`read_record`; empty where none was given.
    """
    return Provenance(
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        git_commit=record.get("git_commit") or _git_commit(),
        data_sha256=data_sha256,
        training_run=record.get("run_id"),
        weights_sha256=weights_sha256,
        tools={"mien": __version__, "python": platform.python_version(), **_versions()},
        licences=dict(_LICENCES),
    )


def read_record(path: Path, weights_sha256: str) -> dict[str, Any]:
    """Read a training record and make sure that it tells of these weights.

    Raises:
        ConfigError: not a record, or of other weights.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"could not read the training record {path}",
            found=getattr(error, "strerror", None) or str(error)[:200],
            wanted="the run.json that 'mien train run' writes",
            remedy="give the run.json that lies beside the weights, or leave --training-record out",
        ) from error
    record = record if isinstance(record, dict) else {}
    told = {name: part.get("sha256") for name in ("early", "final") if isinstance(part := record.get(name), dict)}
    if weights_sha256 not in told.values():
        raise ConfigError(
            f"the training record {path} does not tell of these weights",
            found=f"sha256 {weights_sha256}",
            wanted=", ".join(f"{name} {digest}" for name, digest in told.items()) or "weights in the record",
            remedy="give the run.json that lies beside the weights, or leave --training-record out",
        )
    return record


def _versions() -> dict[str, str]:
    found = {}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
