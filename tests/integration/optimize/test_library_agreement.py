"""Our scales against those of onnxruntime's own calibrators."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from optimize.calibration.thresholds import LEVELS, threshold
from optimize.quantize.placement import placement_of
from tests.unit.optimize.test_placement import FRAME, MODEL, ranges
from tests.unit.optimize.test_thresholds import BELL, histogram


def test_library_default_of_onnxruntime_is_our_max(tmp_path):
    """The MinMax scales of onnxruntime equal ours of the method max: the placement is read without loss."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    onnx.save(MODEL, tmp_path / "m.onnx")

    class Reader:
        frames = iter([{"x": FRAME}])

        def get_next(self):
            return next(self.frames, None)

    quantize_static(
        str(tmp_path / "m.onnx"),
        str(tmp_path / "q.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    made = onnx.load(tmp_path / "q.onnx")
    theirs = {
        t.name: float(numpy_helper.to_array(t)) for t in made.graph.initializer if t.name in {"x_scale", "one_scale"}
    }
    placement = placement_of(made.graph, MODEL.graph)
    assert placement.weights == {"first", "second"}
    limits = ranges(MODEL)
    assert theirs["one_scale"] == pytest.approx(limits["one"] / 127, rel=0.01)
    assert theirs["x_scale"] == pytest.approx(limits["x"] / 127, rel=0.01)


def test_entropy_is_where_onnxruntime_puts_it():
    """The entropy calibrator of onnxruntime, on the same histogram, ends near ours: both curves are flat there."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    made = histogram(BELL)
    counts = made.counts.copy()
    counts[0] = counts[1]
    edges = np.linspace(-made.reach, made.reach, 2 * len(counts) + 1)
    both = np.concatenate([counts[::-1], counts])
    collector = HistogramCollector("entropy", True, len(both), 2 * LEVELS + 1, 99.99, "same")
    _, high = collector.get_entropy_threshold((both, edges, -made.reach, made.reach, made.reach), 2 * LEVELS + 1)
    assert threshold(made, "entropy") == pytest.approx(float(high), rel=0.15)
