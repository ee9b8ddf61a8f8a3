"""A device as its own process, with a real broker, real signatures and real files."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from edge.report import status_of
from tests.fakes.fake_fleet import FakeFleet
from tests.fakes.tiny_bundle import make_bundle
from tests.fakes.tuf_repository import TufRepository
from tests.integration.edge.conftest import DeviceProcess, Listener

Enrolled = tuple[DeviceProcess, Any]


def _publish(repository: TufRepository, tmp_path: Path, version: str, **more: Any) -> str:
    folder = tmp_path / f"bundle-{version}"
    make_bundle(folder, version, **more)
    return repository.add_bundle(folder, "faces", version)


def _running(enrolled: Enrolled, listener: Listener, sha256: str, version: str = "1.0.0") -> DeviceProcess:
    device = enrolled[0]
    device.start()
    listener.desire(f"faces@{version}", sha256, f"d-{version}")
    listener.ended(f"d-{version}", "committed")
    return device


def test_a_device_installs_what_is_desired_and_sends_windows(
    enrolled: Enrolled, listener: Listener, repository: TufRepository, tmp_path: Path
) -> None:
    """The first release goes through the whole lifecycle, and windows of it arrive with labelled power."""
    device = _running(enrolled, listener, _publish(repository, tmp_path, "1.0.0"))

    states = list(dict.fromkeys(report.state.value for report in listener.reports("d-1.0.0")))
    assert states == ["downloading", "verifying", "building", "installing", "probing", "committed"]
    sequences = [report.sequence for report in listener.reports("d-1.0.0")]
    assert sequences == sorted(set(sequences))
    window = listener.wait(
        lambda: next((w for w in listener.windows() if w.release and w.frames and w.detections), None), "a window"
    )
    assert (str(window.release), window.power.source, set(window.expressions)) == (
        "faces@1.0.0",
        "replay",
        {"happy", "sad"},
    )
    assert window.power.energy_per_inference_j > 0
    listener.wait(lambda: (twin := listener.twin()) and str(twin.active) == "faces@1.0.0", "the twin")
    assert listener.status() == "online"
    assert device.end() == 0
    listener.wait(lambda: listener.status() == "offline", "the offline status")


def test_a_bad_release_is_taken_back_by_the_probe(
    enrolled: Enrolled, listener: Listener, repository: TufRepository, tmp_path: Path
) -> None:
    """A model that sees things elsewhere is rolled back, remembered as bad, and refused the next time."""
    device = _running(enrolled, listener, _publish(repository, tmp_path, "1.0.0"))
    bad = _publish(repository, tmp_path, "1.1.0", damaged=True)

    listener.desire("faces@1.1.0", bad, "d-bad")
    report = listener.ended("d-bad", "rolled_back")
    listener.desire("faces@1.1.0", bad, "d-again")
    again = listener.ended("d-again", "rejected")

    assert report.error_code == "probe_failed"
    assert report.probe is not None
    assert "reference agreement" in report.probe.reasons[0]
    assert again.error_code == "known_bad"
    assert listener.reports("d-1.0.0")[-1].state.value == "committed"
    assert len([report for report in listener.reports("d-1.0.0") if report.state.value == "committed"]) == 1
    status = status_of(device.state)
    assert status["active"]["release"] == "faces@1.0.0"
    assert status["known_bad"] == ["faces@1.1.0"]
    listener.wait(
        lambda: (twin := listener.twin()) and [str(ref) for ref in twin.known_bad] == ["faces@1.1.0"], "the twin"
    )


def test_an_ordered_return_uses_the_local_slot(
    enrolled: Enrolled, listener: Listener, repository: TufRepository, fleet: FakeFleet, tmp_path: Path
) -> None:
    """A rollback to the release before needs no download."""
    first = _publish(repository, tmp_path, "1.0.0")
    device = _running(enrolled, listener, first)
    listener.desire("faces@1.1.0", _publish(repository, tmp_path, "1.1.0"), "d-2")
    listener.ended("d-2", "committed")
    fleet.requests.clear()

    listener.desire("faces@1.0.0", first, "d-back", rollback=True)
    listener.ended("d-back", "committed")

    assert not [path for path, _ in fleet.requests if "/targets/" in path]
    assert status_of(device.state)["active"]["release"] == "faces@1.0.0"


def test_a_release_that_nobody_signed_is_rejected(
    enrolled: Enrolled, listener: Listener, repository: TufRepository, tmp_path: Path
) -> None:
    """A release outside the repository is refused with its reason, and what runs goes on."""
    _running(enrolled, listener, _publish(repository, tmp_path, "1.0.0"))

    listener.desire("faces@9.9.9", "0" * 64, "d-unsigned")
    report = listener.ended("d-unsigned", "rejected")

    assert report.error_code == "not_signed"


def test_a_tampered_file_is_refused(
    enrolled: Enrolled, listener: Listener, repository: TufRepository, tmp_path: Path
) -> None:
    """A model whose bytes changed after signing never gets into a slot."""
    sha256 = _publish(repository, tmp_path, "1.0.0")
    stored = repository.stored("faces/1.0.0/model.fp32.onnx")
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 0xFF
    stored.write_bytes(content)
    enrolled[0].start()

    listener.desire("faces@1.0.0", sha256, "d-tampered")
    report = listener.ended("d-tampered", "rejected")

    assert report.error_code == "hash_mismatch"
    assert status_of(enrolled[0].state)["active"] is None


def test_frozen_metadata_is_refused(
    enrolled: Enrolled, listener: Listener, repository: TufRepository, tmp_path: Path
) -> None:
    """An expired timestamp is a freeze attack until the opposite is shown."""
    sha256 = _publish(repository, tmp_path, "1.0.0")
    repository.expire()
    enrolled[0].start()

    listener.desire("faces@1.0.0", sha256, "d-frozen")

    assert listener.ended("d-frozen", "rejected").error_code == "expired_metadata"


def test_a_killed_download_goes_on_where_it_stopped(
    enrolled: Enrolled, listener: Listener, repository: TufRepository, fleet: FakeFleet, tmp_path: Path
) -> None:
    """After kill -9 in the middle of a download, the next start asks for the rest only, and commits."""
    sha256 = _publish(repository, tmp_path, "1.0.0", ballast=2_000_000)
    device = enrolled[0]
    fleet.chunk_pause_s = 0.02
    device.start()
    listener.desire("faces@1.0.0", sha256, "d-1")
    parts = device.state / "update" / "parts"
    listener.wait(lambda: sum(path.stat().st_size for path in parts.glob("*.part")) > 500_000, "half a download")

    device.end(signal.SIGKILL)
    fleet.requests.clear()
    fleet.chunk_pause_s = 0.0
    device.start()
    listener.ended("d-1", "committed")

    ranges = [asked for path, asked in fleet.requests if "model.fp32.onnx" in path]
    assert len(ranges) == 1
    assert int(ranges[0].removeprefix("bytes=").partition("-")[0]) > 500_000
    sequences = [report.sequence for report in listener.reports("d-1")]
    assert sequences == sorted(sequences)


def test_an_outage_of_the_broker_loses_no_window(
    enrolled: Enrolled, listener: Listener, repository: TufRepository, tmp_path: Path
) -> None:
    """Windows closed while the broker was away arrive after it came back, live ones first, and no number is missing."""
    device, broker = enrolled
    _running(enrolled, listener, _publish(repository, tmp_path, "1.0.0"))
    broker.stop()
    time.sleep(2.0)
    broker.start()
    last = max(window.sequence for window in listener.windows())

    wanted = set(range(1, last + 7))
    listener.wait(lambda: wanted <= {window.sequence for window in listener.windows()}, "every window of the outage")
    assert device.end() == 0


def test_a_revoked_device_stops_with_the_trust_exit_code(
    enrolled: Enrolled, listener: Listener, fleet: FakeFleet
) -> None:
    """Revocation ends a running device, and it does not start again."""
    device = enrolled[0]
    device.start()
    listener.wait(lambda: listener.status() == "online", "the device")

    fleet.revoked.add("lab-abc123")

    assert device.wait() == 8
    device.start()
    assert device.wait() == 8
    assert "does not accept this device" in device.log.read_text()
