"""Settings and facts of machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)

from edge.config import CameraSettings, EdgeSettings, read_edge_settings, with_camera
from edge.facts import cpu_model, jetpack_of, jetson_capability, l4t_version, read_facts
from edge.update.interface import ERROR_CODES, REFUSED_CODES
from edge.update.tuf_source import code_of
from mien.errors import ConfigError

ROOT = Path(__file__).parents[3]


def test_the_default_settings_file_is_whole_and_valid() -> None:
    """Every key of the settings stands in the file, and the file changes no default but the camera's limit."""
    path = ROOT / "configs" / "edge" / "default.yaml"
    settings = read_edge_settings(path)
    assert settings == EdgeSettings(camera={"max_fps": 30.0})  # type: ignore[arg-type]
    assert settings.model_fields_set == set(EdgeSettings.model_fields)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    """Unknown keys with their nearest names, and wrong values, in one error."""
    path = tmp_path / "edge.yaml"
    path.write_text("camera: {sorce: x}\ntelemetry: {window_s: 0}\nprivacy: {images_leave_device: true}\nstaet: /x\n")
    with pytest.raises(ConfigError) as caught:
        read_edge_settings(path)
    assert len(caught.value.faults) == 4
    assert "did you mean source?" in str(caught.value)
    assert "did you mean state?" in str(caught.value)


def test_the_command_line_wins_within_a_section(tmp_path: Path) -> None:
    """An override of one key leaves the others of its section."""
    path = tmp_path / "edge.yaml"
    path.write_text("camera: {source: a.mp4, loop: false}\n")
    settings = read_edge_settings(path, {"camera.source": "b.mp4", "state": None})
    assert (settings.camera.source, settings.camera.loop) == ("b.mp4", False)


def test_the_local_api_cannot_leave_the_loopback_interface(tmp_path: Path) -> None:
    """Any other address is refused."""
    path = tmp_path / "edge.yaml"
    path.write_text("api: {enabled: true, host: 0.0.0.0}\n")
    with pytest.raises(ConfigError):
        read_edge_settings(path)


@pytest.mark.parametrize(
    ("text", "l4t", "jetpack"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64", "36.4.3", "6.2"),
        ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64", "35.4.1", "5"),
        ("", None, None),
        ("# R99 (release), REVISION: 1", "99.1", None),
    ],
)
def test_l4t_and_jetpack_are_read(text: str, l4t: str | None, jetpack: str | None) -> None:
    """A version that is not known has no JetPack rather than a wrong one."""
    assert l4t_version(text) == l4t
    assert jetpack_of(l4t) == jetpack


def test_the_gpu_follows_from_the_chip() -> None:
    """Orin is 8.7, and another board has none."""
    assert jetson_capability("nvidia,p3768-0000+p3767-0005 nvidia,p3767-0005 nvidia,tegra234") == "8.7"
    assert jetson_capability("raspberrypi,4-model-b brcm,bcm2711") is None


def test_an_arm_cpu_is_named_by_its_numbers() -> None:
    """Arm's /proc/cpuinfo has no model name."""
    assert cpu_model("processor : 0\nCPU implementer : 0x41\nCPU part : 0xd42\n") == "arm 0x41 0xd42"
    assert cpu_model("model name : Some CPU @ 2.0GHz\n") == "Some CPU @ 2.0GHz"


TWO = EdgeSettings(
    cameras=(CameraSettings(name="a", source="csi://0", width=640, height=480), CameraSettings(name="b", source="/b"))
)


def test_a_camera_is_named_by_its_name_or_by_a_source() -> None:
    """Of several, the named one alone; a source stands in for all, with no options that were meant for another."""
    assert with_camera(TWO, None) is TWO
    assert [camera.source for camera in with_camera(TWO, "b").all_cameras] == ["/b"]
    assert with_camera(TWO, "rtsp://host/cam").all_cameras == (CameraSettings(source="rtsp://host/cam"),)
    one = EdgeSettings(camera=CameraSettings(source="/dev/video0", max_fps=5))
    assert with_camera(one, "/dev/video1").camera == CameraSettings(source="/dev/video1", max_fps=5)


def test_a_name_that_no_camera_has_is_refused_with_those_there_are() -> None:
    """It is no source either."""
    with pytest.raises(ConfigError) as caught:
        with_camera(TWO, "zz")
    assert caught.value.wanted.startswith("a, b, or a source")


def test_this_machines_facts_can_be_read() -> None:
    """They make a hardware class and name a runtime that is installed."""
    facts = read_facts()
    assert "onnxruntime" in facts.runtimes()
    assert facts.hardware_class()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ExpiredMetadataError("x"), "expired_metadata"),
        (BadVersionNumberError("x"), "rollback_attack"),
        (UnsignedMetadataError("x"), "bad_signature"),
        (LengthOrHashMismatchError("x"), "hash_mismatch"),
        (RepositoryError("x"), "bad_signature"),
        (DownloadHTTPError("x", 404), "network"),
        (DownloadError("x"), "network"),
    ],
)
def test_errors_of_trust_have_codes(error: Exception, code: str) -> None:
    """Each error of the TUF library has a code that the fleet knows."""
    found, remedy = code_of(error)
    assert found == code
    assert remedy
    assert found in ERROR_CODES


def test_refused_codes_are_known_codes() -> None:
    """No code is refused that does not exist."""
    assert set(ERROR_CODES) >= REFUSED_CODES
