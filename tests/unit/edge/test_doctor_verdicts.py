"""What the doctor says of an Orin, a Thor, an old Xavier and a laptop: each verdict by cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edge.camera.options import CameraOptions
from edge.doctor.seen import (
    Answer,
    BrokerSeen,
    CameraSeen,
    CertificateSeen,
    ClockSeen,
    CurrentSeen,
    DiskSeen,
    GStreamerSeen,
    JtopSeen,
    MemorySeen,
    PowerModeSeen,
    ServiceSeen,
    SpoolSeen,
)
from edge.doctor.verdicts import board, place, reach, stack
from mien.devices import device_class, jetpack_table
from mien.facts import DeviceFacts

TABLE = jetpack_table()
GIB, DAY_S = 1 << 30, 86_400.0

ORIN = DeviceFacts(
    model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    module="p3767-0005",
    l4t="36.4.3",
    arch="aarch64",
    cpu="arm 0x41 0xd42",
    cpu_count=6,
    memory_bytes=7990 << 20,
    python="3.10.12",
    cuda="12.6.68",
    compute_capability="8.7",
    tensorrt="10.3.0",
    onnxruntime="1.23.2",
)
THOR = ORIN.model_copy(
    update={
        "model": "NVIDIA Jetson AGX Thor Developer Kit",
        "module": "p3834-0008",
        "l4t": "38.2.0",
        "python": "3.12.3",
        "cuda": "13.0.48",
        "compute_capability": "11.0",
        "tensorrt": "10.13.3.9",
    }
)
XAVIER = ORIN.model_copy(update={"model": "NVIDIA Jetson Xavier NX", "module": "p3668-0001", "l4t": "35.4.1"})
LAPTOP = DeviceFacts(
    arch="x86_64", cpu="Some CPU", cpu_count=8, memory_bytes=16 * GIB, python="3.11.7", onnxruntime="1.24.4"
)


def changed(facts: DeviceFacts, **more: Any) -> DeviceFacts:
    """The same board, with something different."""
    return facts.model_copy(update=more)


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        (ORIN, "ok", "L4T 36.4.3, JetPack 6.2"),
        (THOR, "ok", "JetPack 7.0"),
        (LAPTOP, "skipped", "no Jetson"),
        (XAVIER, "wrong", "JetPack 5.1.2 with Python 3.8"),
        (changed(ORIN, l4t="36.4.9"), "warning", "not listed, taken as JetPack 6.2.1"),
        (changed(ORIN, l4t="99.1.0"), "warning", "in no table"),
        (changed(ORIN, l4t=None), "wrong", "no /etc/nv_tegra_release"),
    ],
)
def test_jetpack(facts: DeviceFacts, state: str, words: str) -> None:
    """The board's system by its exact version, and by its series where that is not listed."""
    finding = stack.jetpack(facts, TABLE)
    assert (finding.state, words in finding.found) == (state, True), finding


@pytest.mark.parametrize(
    ("facts", "state", "remedy"),
    [
        (ORIN, "ok", ""),
        (THOR, "ok", ""),
        (LAPTOP, "ok", ""),
        (changed(ORIN, python="3.11.9"), "warning", "python3.10 -m venv"),
        (changed(THOR, python="3.10.12"), "warning", "python3.12 -m venv"),
        (changed(XAVIER, python="3.8.10"), "wrong", "python3.8"),
        (changed(LAPTOP, python="3.13.0"), "wrong", "python3.12 -m venv"),
    ],
)
def test_python(facts: DeviceFacts, state: str, remedy: str) -> None:
    """JetPack's bindings are made for one Python; another one runs, but without TensorRT."""
    finding = stack.python(facts, TABLE)
    assert (finding.state, remedy in finding.remedy) == (state, True), finding


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (ORIN, "ok"),
        (THOR, "ok"),
        (LAPTOP, "skipped"),
        (changed(ORIN, cuda=None), "wrong"),
        (changed(ORIN, cuda="11.4.315"), "warning"),
    ],
)
def test_cuda(facts: DeviceFacts, state: str) -> None:
    """It is JetPack's own, by its first two numbers."""
    assert stack.cuda(facts, TABLE).state == state


@pytest.mark.parametrize(
    ("facts", "answer", "state", "words"),
    [
        (ORIN, Answer(value="10.3.0"), "ok", "TensorRT 10.3.0"),
        (ORIN, Answer(value="10.15.1.29"), "warning", "TensorRT 10.15.1.29"),
        (ORIN, Answer(value="8.4.1"), "wrong", "TensorRT 8.4.1"),
        (ORIN, Answer(error="no module"), "warning", "onnxruntime 1.23.2 runs on the CPU instead"),
        (changed(ORIN, onnxruntime=None), Answer(error="no module"), "wrong", "no TensorRT (no module)"),
        (LAPTOP, Answer(error="no module"), "ok", "onnxruntime 1.24.4, on the CPU"),
        (changed(LAPTOP, onnxruntime=None), Answer(error="no module"), "wrong", "none"),
    ],
)
def test_runtime(facts: DeviceFacts, answer: Answer, state: str, words: str) -> None:
    """A TensorRT from pip that hides JetPack's is told; a CPU alone is fine where there is no GPU."""
    finding = stack.runtime(facts, TABLE, answer)
    assert (finding.state, words in finding.found) == (state, True), finding


def test_the_cuda_binding() -> None:
    """Asked for where there is a GPU only."""
    assert stack.cuda_binding(LAPTOP, Answer(error="x")).state == "skipped"
    assert stack.cuda_binding(ORIN, Answer(value="cuda-python: Orin")).state == "ok"
    assert "mien[edge,jetson]" in stack.cuda_binding(ORIN, Answer(error="no binding")).remedy


JTOP = JtopSeen(client="7.2.2", user="mien", in_group=True, service=Answer(value="7.2.2"))


@pytest.mark.parametrize(
    ("seen", "state", "remedy"),
    [
        (JTOP, "ok", ""),
        (replace(JTOP, client=None), "warning", "mien[edge,jetson]"),
        (replace(JTOP, in_group=None), "warning", "sudo pip3 install -U jetson-stats"),
        (replace(JTOP, in_group=False), "wrong", "usermod -aG jtop mien"),
        (replace(JTOP, service=Answer(value="4.3.2")), "wrong", "jetson-stats==4.3.2"),
        (replace(JTOP, service=Answer(value="7.2.9")), "ok", ""),
        (replace(JTOP, service=Answer(error="The jtop.service is not active")), "warning", "systemctl restart jtop"),
    ],
)
def test_jtop(seen: JtopSeen, state: str, remedy: str) -> None:
    """Library, group, service and whether the two versions fit."""
    finding = board.jtop(seen, jetson=True)
    assert (finding.state, remedy in finding.remedy) == (state, True), finding
    assert board.jtop(seen, jetson=False).state == "skipped"


def test_power_mode_by_name() -> None:
    """The command carries the number that this board's own configuration gives the name."""
    orin = device_class("orin-nano-8gb-super")
    wanted = orin.defaults.power_mode
    assert wanted is not None
    seen = PowerModeSeen(name="7W", ids={"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3})
    finding = board.power_mode(seen, orin, jetson=True)
    assert (finding.state, finding.wanted) == ("warning", wanted)
    assert finding.remedy.startswith(f"sudo nvpmodel -m {seen.ids[wanted]} ")
    assert board.power_mode(replace(seen, name=wanted), orin, jetson=True).state == "ok"
    assert board.power_mode(seen, None, jetson=True).state == "ok"
    assert board.power_mode(PowerModeSeen(name=None, ids={}), orin, jetson=True).state == "warning"
    assert board.power_mode(seen, orin, jetson=False).state == "skipped"


@pytest.mark.parametrize(
    ("name", "jetson", "asked_for", "state"),
    [
        ("jtop", True, "auto", "ok"),
        ("none", True, "auto", "warning"),
        ("none", True, "none", "ok"),
        ("none", False, "auto", "ok"),
    ],
)
def test_power_source(name: str, jetson: bool, asked_for: str, state: str) -> None:
    """A Jetson can always measure; another machine need not."""
    assert board.power_source(name, jetson=jetson, asked_for=asked_for).state == state


@pytest.mark.parametrize(
    ("seen", "jetson", "state", "words"),
    [
        (CurrentSeen(events={"oc1": 0, "oc3": 0}, alarms=(), uptime_s=7200), True, "ok", "none in 2.0 h"),
        (CurrentSeen(events={"oc1": 0, "oc3": 4}, alarms=(), uptime_s=7200), True, "warning", "oc3 4× in 2.0 h"),
        (CurrentSeen(events={"oc3": 4}, alarms=("VDD_IN",), uptime_s=60), True, "wrong", "alarm now: VDD_IN"),
        (CurrentSeen(events={}, alarms=(), uptime_s=60), False, "skipped", ""),
    ],
)
def test_over_current(seen: CurrentSeen, jetson: bool, state: str, words: str) -> None:
    """What the firmware counted, and what stands now."""
    finding = board.over_current(seen, jetson=jetson)
    assert (finding.state, words in finding.found) == (state, True), finding


@pytest.mark.parametrize(
    ("total", "available", "desktop", "state"),
    [
        (8 * GIB, 6 * GIB, False, "ok"),
        (8 * GIB, 6 * GIB, True, "warning"),
        (64 * GIB, 6 * GIB, True, "ok"),
        (8 * GIB, GIB // 4, True, "wrong"),
    ],
)
def test_memory(total: int, available: int, desktop: bool, state: str) -> None:
    """A desktop is a waste on a small board only."""
    seen = MemorySeen(total_bytes=total, available_bytes=available, desktop=desktop)
    assert board.memory(seen, jetson=True).state == state


DISK = DiskSeen(folder="/var/lib/mien", free_bytes=9 * GIB, free_files=10**6, writable=True, read_only=False)


@pytest.mark.parametrize(
    ("seen", "state", "words"),
    [
        (DISK, "ok", "9216 MiB free"),
        (replace(DISK, free_files=None), "ok", "free"),
        (replace(DISK, free_bytes=GIB), "warning", "1024 MiB free"),
        (replace(DISK, free_bytes=100 << 20), "wrong", "100 MiB free"),
        (replace(DISK, free_files=12), "wrong", "12 files left"),
        (replace(DISK, read_only=True), "wrong", "mounted read-only"),
        (replace(DISK, writable=False), "wrong", "may not write"),
        (replace(DISK, remounted=("/",)), "warning", "read-only after errors: /"),
    ],
)
def test_disk(seen: DiskSeen, state: str, words: str) -> None:
    """Room, files, rights, and disks that the kernel has given up writing to."""
    finding = place.disk(seen)
    assert (finding.state, words in finding.found) == (state, True), finding


@pytest.mark.parametrize(
    ("now_s", "synchronised", "state"),
    [(2e9, True, "ok"), (2e9, False, "warning"), (2e9, None, "warning"), (1e9, True, "wrong")],
)
def test_clock(now_s: float, synchronised: bool | None, state: str) -> None:
    """A clock before the day of installation is wrong, whoever keeps it."""
    assert place.clock(ClockSeen(now_s=now_s, synchronised=synchronised, installed_s=1.9e9)).state == state


@pytest.mark.parametrize(
    ("now_day", "state", "words"),
    [
        (50, "ok", "50 days"),
        (90, "warning", "10 days"),
        (103, "wrong", "expired 3 days ago"),
        (-2, "wrong", "valid from"),
    ],
)
def test_certificate(now_day: int, state: str, words: str) -> None:
    """Valid, soon over, over, and not yet: then the clock is to blame."""
    finding = place.certificate(CertificateSeen(name="lab-1", starts_s=0, ends_s=100 * DAY_S), now_day * DAY_S)
    assert (finding.state, words in finding.found) == (state, True), finding


SERVICE = ServiceSeen(
    systemd=True,
    shipped="/opt/mien/share/mien/configs/systemd/mien-edge.service",
    path="/etc/systemd/system/mien-edge.service",
    same=True,
    active="active",
    enabled="enabled",
    restarts=0,
    reload_needed=False,
)


@pytest.mark.parametrize(
    ("seen", "state", "remedy"),
    [
        (SERVICE, "ok", ""),
        (replace(SERVICE, systemd=False), "skipped", ""),
        (replace(SERVICE, path=None), "warning", "sudo cp /opt/mien/share/mien/configs/systemd/mien-edge.service"),
        (replace(SERVICE, same=False), "warning", "daemon-reload"),
        (replace(SERVICE, reload_needed=True), "warning", "daemon-reload"),
        (replace(SERVICE, enabled="disabled"), "warning", "enable --now"),
        (replace(SERVICE, active="failed"), "wrong", "journalctl -u mien-edge"),
    ],
)
def test_service(seen: ServiceSeen, state: str, remedy: str) -> None:
    """Installed, this version's, loaded, enabled, running."""
    finding = place.service(seen)
    assert (finding.state, remedy in finding.remedy) == (state, True), finding


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (SpoolSeen(exists=False), "skipped"),
        (SpoolSeen(exists=True, bytes=4096, waiting=3), "ok"),
        (SpoolSeen(exists=True, bytes=4096, waiting=3, damaged=("spool.sqlite.damaged-1",)), "warning"),
        (SpoolSeen(exists=True, bytes=4096, check="database disk image is malformed"), "wrong"),
    ],
)
def test_spool(seen: SpoolSeen, state: str) -> None:
    """Whole, damaged before, damaged now."""
    assert place.spool(seen).state == state


NVIDIA = frozenset({"nvarguscamerasrc", "nvvidconv", "nvv4l2decoder", "appsink"})
NETWORK = frozenset(
    {"rtspsrc", "decodebin", "rtph264depay", "rtph265depay", "h264parse", "h265parse", "appsink", "videoconvert"}
)


@pytest.mark.parametrize(
    ("elements", "error", "source", "jetson", "state"),
    [
        (frozenset(), "", "/dev/video0", True, "skipped"),
        (NVIDIA, "", "csi://0", True, "ok"),
        (NETWORK, "", "csi://0", True, "wrong"),
        (frozenset(), "GStreamer needs PyGObject", "csi://0", True, "wrong"),
        (frozenset(), "GStreamer needs PyGObject", "rtsp://a/b", False, "warning"),
        (NETWORK, "", "rtsp://a/b", False, "warning"),
        (NETWORK | {"avdec_h264", "avdec_h265"}, "", "rtsp://a/b", False, "ok"),
        (NETWORK | {"avdec_h264", "avdec_h265"}, "", "rtsp://a/b", True, "warning"),
        (NETWORK | NVIDIA, "", "rtsp://a/b", True, "ok"),
    ],
)
def test_gstreamer(elements: frozenset[str], error: str, source: str, jetson: bool, state: str) -> None:
    """Only what the configured camera needs counts."""
    seen = GStreamerSeen(elements=elements, error=error, remedy="apt install python3-gi")
    finding = reach.gstreamer(seen, source, CameraOptions(), jetson=jetson)
    assert finding.state == state, finding
    assert bool(finding.remedy) == (state in {"warning", "wrong"})


def test_missing_elements_become_one_command() -> None:
    """Each package once, and nothing that a shell would not take."""
    finding = reach.gstreamer(GStreamerSeen(elements=frozenset()), "csi://0", CameraOptions(), jetson=True)
    assert finding.remedy == "sudo apt install nvidia-l4t-gstreamer gstreamer1.0-plugins-base"


def test_camera() -> None:
    """A picture, none, and a camera that the running agent has."""
    assert reach.camera("camera", CameraSeen(name="/dev/video0", width=640, height=480)).state == "ok"
    assert reach.camera("camera", CameraSeen(name="/dev/video0")).state == "wrong"
    assert reach.camera("camera", CameraSeen(name="/dev/video0", held_by_agent=True)).state == "skipped"


@pytest.mark.parametrize("step", ["tcp", "tls", "session"])
def test_broker(step: str) -> None:
    """Each step that may fail has a remedy of its own."""
    assert reach.broker(BrokerSeen(address="a:8883")).state == "ok"
    remedies = {reach.broker(BrokerSeen(address="a:1", failed_at=at)).remedy for at in ("tcp", "tls", "session")}
    finding = reach.broker(BrokerSeen(address="a:8883", failed_at=step, error="refused"))
    assert (finding.state, "refused" in finding.found, len(remedies)) == ("wrong", True, 3)
