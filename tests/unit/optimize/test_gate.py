"""What the gate lets out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.config import read_settings
from mien.demo.settings import read_demo
from mien.errors import ConfigError
from mien.release import Accuracy
from optimize.gate import GateLimits, Measured, gate, measured_line

GATES = Path(__file__).resolve().parents[3] / "configs" / "gates"


def measured(path, *, loss=0.0, shift=0.0, sad=0.5, agreement=1.0, map50=0.9, confidence=0.7):
    accuracy = Accuracy(
        images=200,
        map50=map50,
        map50_95=0.6 - loss,
        per_class={"happy": 0.7, "sad": sad},
        mean_confidence=confidence,
        confidence_shift=shift,
        changed_images=0,
    )
    precision = path.split(".")[1]
    return Measured(
        path=path, precision=precision, accuracy=accuracy, reference_agreement=agreement, size_bytes=1, latency_ms=1.0
    )


FP32 = measured("model.fp32.onnx")
OBJECTS = {"happy": 100, "sad": 60}


def refused(variant, objects=OBJECTS, **limits):
    return gate([FP32, variant], GateLimits(**limits), objects).refused


def test_equal_variant_passes():
    """A variant like FP32 passes every check."""
    result = gate([FP32, measured("model.int8.onnx")], GateLimits(), OBJECTS)
    assert result.passed
    assert len(result.checks) == 10


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"loss": 0.006}, "map50_95_loss"),
        ({"shift": 0.021}, "confidence_shift"),
        ({"shift": -0.021}, "confidence_shift"),
        ({"shift": None}, "confidence_shift"),
        ({"sad": 0.47}, "class_loss"),
        ({"agreement": 0.89}, "reference_agreement"),
    ],
)
def test_each_limit_refuses(change, check):
    """Each measurement beyond its limit refuses the variant, and is named."""
    assert check in refused(measured("model.int8.onnx", **change))["model.int8.onnx"]


def test_limit_itself_passes():
    """Exactly at the limit is allowed."""
    assert not refused(measured("model.int8.onnx", agreement=0.9), min_reference_agreement=0.9)


def test_small_class_is_not_judged_alone():
    """A class with few objects may swing."""
    assert not refused(measured("model.int8.onnx", sad=0.2), {"happy": 100, "sad": 49})


def test_blind_variant_does_not_pass():
    """A variant that shares no detection with FP32 has no confidence to compare, and fails."""
    blind = measured("model.int8.onnx", shift=None, confidence=None)
    assert "confidence_shift" in refused(blind)["model.int8.onnx"]


def test_weak_weights_are_refused_themselves():
    """A floor on accuracy refuses FP32 too."""
    result = gate([measured("model.fp32.onnx", map50=0.3)], GateLimits(min_map50=0.5), OBJECTS)
    assert "model.fp32.onnx" in result.refused


def test_every_reason_is_told():
    """A variant that fails twice says so twice."""
    reasons = refused(measured("model.int8.onnx", loss=0.1, agreement=0.1))["model.int8.onnx"]
    assert reasons.count("limit") == 2


def test_a_line_of_the_table_says_what_was_measured():
    """What a refusal prints names file, precision, shift and changed images."""
    line = measured_line(measured("model.int8.onnx", loss=0.1, shift=-0.03))
    assert all(part in line for part in ("model.int8.onnx", "0.500", "-0.0300", "0 of 200"))


@given(st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_greater_loss_never_passes_where_a_smaller_fails(first, second):
    """The gate is monotone in the loss."""
    small, great = sorted((first, second))
    if refused(measured("model.int8.onnx", loss=small)):
        assert refused(measured("model.int8.onnx", loss=great))


@pytest.mark.parametrize("path", sorted(GATES.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_limits_load(path):
    """Every gate file in the repository is valid."""
    read_settings(GateLimits, path)


def test_demo_holds_int8_to_one_point():
    """The demo promises INT8 within one point of FP32 for its final release, and judges that itself."""
    assert read_demo("full").accuracy.max_int8_loss <= 0.01


def test_default_file_says_what_the_code_says():
    """Without --gate the limits are those of the default file."""
    assert read_settings(GateLimits, GATES / "default.yaml") == GateLimits()


def test_unknown_limit_names_the_nearest(tmp_path):
    """A mistyped limit is refused with the right name."""
    (tmp_path / "g.yaml").write_text("max_map50_loss: 0.1\nmin_map50: 2\n")
    with pytest.raises(ConfigError) as caught:
        read_settings(GateLimits, tmp_path / "g.yaml")
    assert len(caught.value.faults) == 2
    assert "max_map50_95_loss" in str(caught.value)
