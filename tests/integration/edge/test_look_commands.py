"""``mien edge bench`` and ``mien edge snapshot`` as separate processes."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.fakes.tiny_bundle import bright_square, make_bundle
from tests.integration.edge.test_commands import _mien


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A whole bundle."""
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture in which the bundle's model finds one square."""
    path = tmp_path / "door.png"
    cv2.imwrite(str(path), bright_square(1, 1))
    return path


def test_the_bench_measures_each_variant_and_names_the_others(bundle: Path, tmp_path: Path) -> None:
    """Rates, times and agreement of what runs here; a precision that the bundle lacks is named with its reason."""
    done = _mien("bench", "--bundle", str(bundle), "--seconds", "0.5", "--power", "none", "--json", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    measured = {one["precision"]: one for one in found["variants"]}
    assert measured
    for one in measured.values():
        assert one["engine_fps"] > 0
        assert one["pipeline_fps"] > 0
        assert one["agreement"] == 1.0
        assert (one["power_w"], one["energy_per_inference_j"], one["power_source"]) == (None, None, "none")
    missing = {"int8", "fp16", "fp32"} - set(measured)
    assert {reason.partition(":")[0] for reason in found["passed_over"]} == missing


def test_the_bench_refuses_a_power_source_that_there_is_not(bundle: Path, tmp_path: Path) -> None:
    """The refusal names the sources there are, and nothing is measured."""
    done = _mien("bench", "--bundle", str(bundle), "--power", "battery", cache=tmp_path)
    assert done.returncode == 3
    assert "jtop" in done.stderr
    assert done.stdout == ""


def test_a_snapshot_covers_faces_unless_it_is_asked_not_to(bundle: Path, picture: Path, tmp_path: Path) -> None:
    """The square that the model finds is gone from the one picture and stands in the other; both are private files."""
    covered, plain = tmp_path / "covered.png", tmp_path / "plain.png"
    common = ("snapshot", "--camera", str(picture), "--bundle", str(bundle), "--json")
    first = _mien(*common, "--out", str(covered), cache=tmp_path)
    second = _mien(*common, "--out", str(plain), "--show-faces", cache=tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    facts = json.loads(first.stdout)
    assert facts["faces"] >= 1
    original = cv2.imread(str(picture))
    assert np.array_equal(cv2.imread(str(plain)), original)
    changed = np.any(cv2.imread(str(covered)) != original, axis=2)
    assert changed.mean() > 0.01
    for path in (covered, plain):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_snapshot_without_a_model_is_refused(picture: Path, tmp_path: Path) -> None:
    """Nobody can cover what nobody finds: no file is written, and the way out is named."""
    out = tmp_path / "x.jpg"
    config = tmp_path / "edge.yaml"
    config.write_text(f"state: {tmp_path / 'state'}\n")
    done = _mien("snapshot", "--config", str(config), "--camera", str(picture), "--out", str(out))
    assert done.returncode == 3
    assert "--show-faces" in done.stderr
    assert not out.exists()
    shown = _mien("snapshot", "--config", str(config), "--camera", str(picture), "--out", str(out), "--show-faces")
    assert shown.returncode == 0, shown.stderr
    assert cv2.imread(str(out)) is not None


def test_a_snapshot_of_one_of_several_cameras_is_asked_for_by_name(picture: Path, tmp_path: Path) -> None:
    """Without a name the cameras are listed; with one, that camera is taken."""
    config, out = tmp_path / "edge.yaml", tmp_path / "x.png"
    config.write_text(
        f"state: {tmp_path / 'state'}\ncameras:\n"
        f"  - {{name: door, source: {picture}}}\n  - {{name: yard, source: {tmp_path / 'none.mp4'}}}\n"
    )
    common = ("snapshot", "--config", str(config), "--out", str(out), "--show-faces")
    refused = _mien(*common)
    assert refused.returncode == 3
    assert "door, yard" in refused.stderr
    unknown = _mien(*common, "--camera", "c")
    assert unknown.returncode == 3
    assert "door, yard, or a source" in unknown.stderr
    done = _mien(*common, "--camera", "door")
    assert (done.returncode, done.stderr) == (0, "")
    assert out.is_file()
