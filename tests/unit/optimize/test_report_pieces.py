"""What the report's page is put together from."""

import numpy as np

from edge.vision.detections import Detections
from mien.release import Accuracy, Calibration
from optimize.gate import GateLimits, Measured, gate
from optimize.report.html import table
from optimize.report.page import CHECKS, difference
from optimize.report.plots import sensitivity as draw
from optimize.report.study import sensitivity
from optimize.sensitivity import CurvePoint, LayerLoss, Study

LAYERS = tuple(
    LayerLoss(layer=f"/body/{n}/Conv", map50_95=0.8, map50_95_lost=0.01, fidelity=0.9, confidence_shift=None, loss=1.1)
    for n in range(20)
)
CURVE = tuple(
    CurvePoint(float_layers=n, map50_95=0.8, map50_95_lost=0.01, fidelity=0.9, confidence_shift=-0.01, size_bytes=10**6)
    for n in (0, 1, 2)
)
STUDY = Study(method="mse", layer_frames=7, frames=9, map50_95=0.81, layers=LAYERS, curve=CURVE)
USED = Calibration(
    method="mse", quantizer="onnxruntime", images=32, data_sha256="a" * 64, float_layers=("/body/0/Conv",)
)


class Facts:
    """The two facts that the section reads."""

    def __init__(self, study, calibration):
        self.study, self.calibration = study, calibration


def boxes(*corners):
    return Detections(
        boxes=np.array(corners, np.float32).reshape(-1, 4),
        scores=np.full(len(corners), 0.9, np.float32),
        classes=np.zeros(len(corners), np.int32),
    )


def test_every_check_of_the_gate_has_words_and_the_right_relation():
    """Held against its limit as the words say, each verdict is the gate's own."""
    accuracy = Accuracy(
        images=9,
        map50=0.5,
        map50_95=0.4,
        per_class={"a": 0.4},
        mean_confidence=0.5,
        confidence_shift=0.0,
        changed_images=0,
    )
    measured = Measured(
        path="f", precision="fp32", accuracy=accuracy, reference_agreement=0.5, size_bytes=1, latency_ms=1
    )
    checks = gate([measured], GateLimits(min_map50=0.6), {"a": 99}).checks
    assert {check.name for check in checks} == set(CHECKS)
    for check in checks:
        relation = CHECKS[check.name][1]
        assert check.passed == (check.value <= check.limit if relation == "≤" else check.value >= check.limit)
    assert {check.passed for check in checks} == {True, False}


def test_a_table_scrolls_in_its_box_and_escapes():
    """Names from outside are text; the first column and the marked ones are aligned left."""
    made = table(("layer", "value", "<words"), [("<script>", "1", "passed")])
    assert made.startswith('<div class="scroll"')
    assert "<script>" not in made
    assert '<td class="text">&lt;script&gt;</td><td>1</td><td class="text good">passed</td>' in made


def test_the_section_says_what_was_measured_on_how_many_images():
    """Frames, layers and truths are named, the layer that went back too, and long names stay whole."""
    said = sensitivity(Facts(STUDY, USED))
    assert "20 layers" in said
    assert "judged on 7 images, the curve on 9" in said
    assert "in this bundle: 1" in said
    assert '<td class="text">/body/0/Conv</td><td>0.1000</td><td>—</td><td>+0.0100</td><td>float</td>' in said
    assert "the scales were found with them too" in sensitivity(
        Facts(STUDY, USED.model_copy(update={"compared_on": "the calibration images"}))
    )


def test_the_section_says_why_nothing_was_measured():
    """No INT8, nothing found, or not wanted: three reasons."""
    blind = sensitivity(Facts(None, USED))
    assert "FP32 finds nothing" in blind
    assert "No INT8" in sensitivity(Facts(None, None))
    compared = {"method": "mse", "quantizer": "onnxruntime", "map50_95": 1.0, "changed_images": 0, "images": 9}
    unwanted = Calibration.model_validate({**USED.model_dump(), "compared": [compared]})
    assert "--no-sensitivity" in sensitivity(Facts(None, unwanted))


def test_a_curve_without_a_bundle_speaks_of_none():
    """The plot that a command draws on its own has no mark of a bundle."""
    assert "in this bundle" not in draw(STUDY)
    assert "in this bundle: 2" in draw(STUDY, 2)


def test_what_differs_in_an_image_is_said():
    """Found by both, lost and new are counted."""
    here, there = (0, 0, 10, 10), (50, 50, 60, 60)
    assert difference(boxes(here), boxes(there)) == "FP32 finds 1, this 1: 0 alike, 1 lost, 1 new"
    assert difference(boxes(here, there), boxes(there, here)) == "the same 2 as FP32"
