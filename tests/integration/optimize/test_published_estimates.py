"""Estimates of the detectors that were measured and published by others, on graphs that are exported for this."""

from pathlib import Path

import pytest

from mien.devices import device_classes
from optimize.estimate import calibrated, compare, estimate
from optimize.graph.untrained import ARCHITECTURES, untrained_workload
from optimize.outlook import outlook
from optimize.performance_page import MODEL, SIZE, models_published, page

ROOT = Path(__file__).resolve().parents[3]
CLASSES = {device.name: device for device in device_classes()}
PRECISIONS = ("fp32", "fp16", "int8")
GFLOPS = {"yolov8n": 8.7, "yolov8s": 28.6, "yolo11n": 6.5}
"""ultralytics' documents, docs.ultralytics.com/models/yolov8 and /yolo11, at 640 pixels; a multiply-add is two."""
PARAMETERS = {"yolov8n": 3.2e6, "yolov8s": 11.2e6, "yolo11n": 2.6e6}


@pytest.fixture(scope="module")
def workloads():
    """The graphs that published measurements exist of."""
    names = models_published(tuple(CLASSES.values()), ARCHITECTURES)
    return {name: untrained_workload(name, str(SIZE)) for name in names}


@pytest.mark.parametrize("name", sorted(GFLOPS))
def test_operations_and_weights_are_the_published_ones(workloads, name):
    """Within the rounding of ultralytics' own tables."""
    work = workloads[name]
    assert work.flops / 1e9 == pytest.approx(GFLOPS[name], rel=0.02)
    assert sum(layer.weights for layer in work) == pytest.approx(PARAMETERS[name], rel=0.03)


def test_nothing_published_is_faster_than_its_roofline(workloads):
    """A lower bound that a measurement beats would be wrong; and it is no bound of another kind: within ten times."""
    rows = [row for name, work in workloads.items() for row in compare(work, name, SIZE, tuple(CLASSES.values()))]
    assert len(rows) >= 14
    assert [(row.device, row.published.model, row.ratio) for row in rows if not 1 <= row.ratio <= 10] == []


def test_a_scaled_estimate_uses_others_measurements_only(workloads):
    """Its ends are the smallest and largest ratio of other classes, and one measurement alone gives none."""
    classes = tuple(CLASSES.values())
    rows = compare(workloads[MODEL], MODEL, SIZE, classes)
    agx, nano = CLASSES["agx-orin-64gb"], CLASSES["orin-nano-8gb-super"]
    guess = estimate(workloads[MODEL], agx, "fp16")
    scaled = calibrated(guess, agx, rows)
    ratios = [row.ratio for row in rows if row.published.precision == "fp16"]
    assert scaled.low_ms == pytest.approx(guess.roofline_ms * min(ratios))
    assert scaled.high_ms == pytest.approx(guess.roofline_ms * max(ratios))
    assert scaled.low_ms <= scaled.latency_ms <= scaled.high_ms
    assert scaled.sources == ("orin-nano-8gb-super", "orin-nx-16gb")
    assert calibrated(estimate(workloads[MODEL], nano, "fp16"), nano, rows) is None
    volta = CLASSES["agx-xavier-32gb"]
    assert calibrated(estimate(workloads[MODEL], volta, "fp16"), volta, rows) is None


def test_an_outlook_keeps_estimate_and_published_apart(workloads):
    """The document for machines has both, each under its own key."""
    nano = CLASSES["orin-nano-8gb-super"]
    rows = compare(workloads[MODEL], MODEL, SIZE, tuple(CLASSES.values()))
    mode = nano.power_mode("MAXN_SUPER")
    answer = outlook(nano, "int8", workloads[MODEL], mode=mode, measured=rows).as_dict()
    assert answer["estimate"]["kind"] == "roofline (lower bound)"
    assert answer["estimate"]["joules_at_roofline"] is None
    (row,) = answer["published"]
    assert (row["latency_ms"], row["power_w"]) == (3.49, 12.49)
    assert row["joules"] == pytest.approx(0.0436, abs=1e-4)
    assert "github.com" in row["source"]


def test_the_page_is_what_the_command_writes(workloads):
    """A stale page fails here; write it anew with: mien optimize targets --page docs/performance.md."""
    written = (ROOT / "docs" / "performance.md").read_text()
    assert written == page(tuple(CLASSES.values()), workloads)
    assert all(f"| {name} |" in written for name in CLASSES)
