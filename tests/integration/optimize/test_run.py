"""The whole way through the command: weights and data to a bundle, and what becomes of bad input."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.vision.reference import read_reference
from mien.bundle import verify_bundle
from mien.errors import ExitCode
from mien.facts import DeviceFacts
from mien.release import BuildEngine, choose_variant
from optimize.calibration.images import hash_of_samples

ROOT = Path(__file__).resolve().parents[3]
WIDE = "max_map50_95_loss: 0.05\nmax_class_loss: 0.2\nmax_confidence_shift: 0.1\nmin_reference_agreement: 0.8\nmin_map50: 0.5\n"
CPU = DeviceFacts(arch="x86_64", cpu="x", cpu_count=2, memory_bytes=1, python="3.11", onnxruntime="1.24.4")
ORIN = CPU.model_copy(update={"arch": "aarch64", "compute_capability": "8.7", "tensorrt": "10.3.0.30"})


def mien(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mien", "optimize", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def order(weights, data, out, *more):
    common = ("--calibration-images", 32, "--method", "max", "--json")
    return mien("run", "--weights", weights, "--data", data, "--out", out, *common, *more)


@pytest.fixture(scope="module")
def packed(tmp_path_factory, weights, data):
    folder = tmp_path_factory.mktemp("run")
    (folder / "wide.yaml").write_text(WIDE)
    done = order(weights, data, folder / "bundle", "--gate", folder / "wide.yaml", "--version", "1.1.0", "--archive")
    assert done.returncode == 0, done.stderr
    return folder / "bundle", json.loads(done.stdout)


def test_bundle_is_whole_and_says_what_was_measured(packed):
    """Every file is there with its hash; each variant carries accuracy, latency and agreement."""
    bundle, answer = packed
    manifest = verify_bundle(bundle)
    assert [variant.path for variant in manifest.variants] == [
        "model.fp32.onnx",
        "model.fp16.onnx",
        "model.int8.onnx",
        "model.int8.cpu.onnx",
    ]
    assert {row["precision"] for row in answer["variants"]} == {"fp32", "fp16", "int8"}
    assert all(row["latency_ms"] > 0 and 0 <= row["map50_95"] <= row["map50"] <= 1 for row in answer["variants"])
    assert all(variant.accuracy.images == 24 for variant in manifest.variants)
    assert manifest.variants[0].reference_agreement == 1.0
    assert manifest.calibration.images == 32
    assert set(answer["seconds"]) >= {"export", "int8", "evaluate", "report"}


def test_each_device_finds_its_variant(packed):
    """A Jetson takes the TensorRT form of INT8, a CPU its twin."""
    manifest = verify_bundle(packed[0])
    assert choose_variant(manifest, ORIN) == BuildEngine(variant=manifest.variants[2], runtime="tensorrt")
    assert choose_variant(manifest, CPU) == BuildEngine(variant=manifest.variants[3], runtime="onnxruntime")


def test_reference_shows_something(packed):
    """The reference frames hold detections, in the input's size."""
    frames = read_reference(packed[0] / "reference.npz")
    assert sum(len(frame.detections) for frame in frames) > 0
    assert {frame.frame.shape for frame in frames} == {(96, 96, 3)}


def test_calibration_is_listed_and_methods_were_compared(packed):
    """The manifest names every calibration image with its hash, and the methods that were tried, the one taken first."""
    calibration = verify_bundle(packed[0]).calibration
    assert len(calibration.samples) == 32
    assert hash_of_samples(calibration.samples) == calibration.data_sha256
    assert [one.method for one in calibration.compared] == [calibration.method] == ["max"]


def test_sensitive_layers_return_to_floating_point_until_the_gate_holds(tmp_path, packed, weights, data):
    """A gate that INT8 fails with every layer quantised is met with fewer, and the report draws the curve."""
    int8 = [v.accuracy.confidence_shift for v in verify_bundle(packed[0]).variants if v.precision == "int8"]
    limit = max(map(abs, int8)) * 0.98
    (tmp_path / "strict.yaml").write_text(WIDE.replace("max_confidence_shift: 0.1", f"max_confidence_shift: {limit}"))
    gate = ("--gate", tmp_path / "strict.yaml")
    done = order(weights, data, tmp_path / "b", *gate, "--precision", "fp32,int8", "--target", "orin-nano-8gb")
    assert done.returncode == 0, done.stderr
    manifest = verify_bundle(tmp_path / "b")
    assert manifest.calibration.float_layers
    assert all(abs(v.accuracy.confidence_shift) <= limit for v in manifest.variants)
    page = (tmp_path / "b" / "report.html").read_text()
    assert page.count("<svg") == 4
    assert manifest.calibration.float_layers[0] in page
    assert manifest.target.name == "orin-nano-8gb"
    assert "orin-nano-8gb" in (tmp_path / "b" / "model_card.md").read_text()


def test_the_curve_can_be_left_out(tmp_path, weights, data):
    """Without it the report has no curve and says why."""
    (tmp_path / "wide.yaml").write_text(WIDE)
    more = ("--gate", tmp_path / "wide.yaml", "--precision", "fp32,int8", "--no-sensitivity")
    done = order(weights, data, tmp_path / "b", *more)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "b" / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "--no-sensitivity left it out" in page


def test_exchanged_channels_are_named_as_the_cause(tmp_path, weights, data):
    """Weights that were trained with red and blue the other way round find little; the refusal says so."""
    root = tmp_path / "data"
    shutil.copytree(data.parent, root)
    for path in root.glob("images/*/*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path))[..., ::-1])
    (root / "data.yaml").write_text(data.read_text().replace(str(data.parent), str(root)))
    (tmp_path / "floor.yaml").write_text("min_map50: 0.9\n")
    gate = ("--gate", tmp_path / "floor.yaml", "--precision", "fp32")
    done = order(weights, root / "data.yaml", tmp_path / "b", *gate)
    assert done.returncode == ExitCode.GATE, done.stderr
    refused = json.loads(done.stdout)
    assert refused["remedy"].startswith("preprocessing mismatch")
    assert "--keep-passing" not in refused["remedy"], "nothing else can be packed without FP32"
    assert "model.fp32.onnx" in refused["found"]


def test_a_model_that_finds_nothing_is_not_packed(tmp_path, weights, data):
    """On black images FP32 loses nothing against itself; the floor of the default gate refuses it all the same."""
    root = tmp_path / "data"
    shutil.copytree(data.parent, root)
    for path in root.glob("images/*/*.png"):
        cv2.imwrite(str(path), np.zeros((96, 96, 3), np.uint8))
    (root / "data.yaml").write_text(data.read_text().replace(str(data.parent), str(root)))
    done = order(weights, root / "data.yaml", tmp_path / "b", "--precision", "fp32")
    assert done.returncode == ExitCode.GATE, done.stderr
    assert not (tmp_path / "b").exists()


def test_ctrl_c_leaves_nothing(tmp_path, weights, data):
    """Interrupted while it quantises, the command answers 130 and no folder is left."""
    command = [sys.executable, "-m", "mien", "optimize", "run", "--weights", weights, "--data", data]
    options = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen([*map(str, command), "--out", str(tmp_path / "b")], cwd=ROOT, **options) as process:
        while process.poll() is None and not list(tmp_path.glob(".b.*/model.fp32.onnx")):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    assert process.returncode == ExitCode.INTERRUPTED
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_told_and_leaves_nothing(tmp_path, weights):
    """A graph that does not fit is not left there in part."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        done = mien("export", "--weights", weights, "--imgsz", "96", "--out", small / "m.onnx", "--json")
        assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_report_stands_alone(packed):
    """The page holds its pictures and asks nothing of the network."""
    page = (packed[0] / "report.html").read_text()
    assert page.count("<svg") == 4
    assert 'src="http' not in page
    assert 'href="http' not in page.replace('xlink:href="http', "")


def test_archive_lies_beside(packed):
    """The archive has the bundle's name."""
    assert packed[0].with_name("bundle.tar.zst").stat().st_size > 1_000_000


def test_check_passes_and_a_drill_fails_it(packed, tmp_path):
    """The good bundle sees what it saw; the damaged one loads, has right hashes, and does not."""
    assert mien("check", packed[0]).returncode == 0
    made = mien("drill", packed[0], "--version", "1.2.0", "--out", tmp_path / "bad", "--json")
    assert made.returncode == 0, made.stderr
    manifest = verify_bundle(tmp_path / "bad")
    good = verify_bundle(packed[0])
    assert manifest.provenance.tools["drill"] == "damaged on purpose"
    assert manifest.known_limits[0].startswith("DRILL")
    assert (manifest.gate, [v.accuracy for v in manifest.variants]) == (good.gate, [v.accuracy for v in good.variants])
    looked = mien("check", tmp_path / "bad", "--json")
    assert looked.returncode == ExitCode.GATE
    shares = [row["agreement"] for row in json.loads(looked.stdout.partition("\n}\n")[0] + "\n}")["variants"]]
    assert max(shares) < 0.5


def test_drill_must_rise(packed, tmp_path):
    """A rehearsal with an older version would prove nothing."""
    done = mien("drill", packed[0], "--version", "1.1.0", "--out", tmp_path / "bad")
    assert done.returncode == ExitCode.BUNDLE
    assert not (tmp_path / "bad").exists()


def test_changed_byte_is_named(packed, tmp_path):
    """Inspecting a bundle with a changed byte names the file."""
    shutil.copytree(packed[0], tmp_path / "b")
    model = tmp_path / "b" / "model.fp16.onnx"
    content = bytearray(model.read_bytes())
    content[1000] ^= 1
    model.write_bytes(content)
    done = mien("inspect", tmp_path / "b", "--json")
    assert done.returncode == ExitCode.BUNDLE
    assert "model.fp16.onnx" in json.loads(done.stdout)["what"]


def test_gate_refuses_and_leaves_nothing(tmp_path, weights, data):
    """Weights below the floor are measured, refused with numbers, and not packed."""
    (tmp_path / "strict.yaml").write_text("min_map50: 1.0\nmax_confidence_shift: 0.0\n")
    done = order(weights, data, tmp_path / "bundle", "--gate", tmp_path / "strict.yaml", "--precision", "fp32")
    assert done.returncode == ExitCode.GATE, done.stderr
    assert "map50" in json.loads(done.stdout)["found"]
    assert [path.name for path in tmp_path.iterdir()] == ["strict.yaml"]


@pytest.mark.parametrize(
    ("more", "code", "word"),
    [
        (("--calibration-images", "31"), ExitCode.DATA, "too few"),
        (("--imgsz", "100"), ExitCode.CONFIG, "image size"),
        (("--version", "one"), ExitCode.CONFIG, "release"),
        (("--precision", "int8"), ExitCode.CONFIG, "precisions"),
        (("--method", "magic"), ExitCode.CONFIG, "scales"),
        (("--target", "orin-nano-8bg"), ExitCode.CONFIG, "did you mean orin-nano-8gb"),
        (("--target", "orin-nano-8gb", "--jetpack", "7.1"), ExitCode.UNSUPPORTED, "does not run on"),
        (("--jetpack", "6.2"), ExitCode.CONFIG, "belongs to a device class"),
        (("--training-record", "/dev/null"), ExitCode.CONFIG, "training record"),
    ],
)
def test_wrong_orders_are_refused(tmp_path, weights, data, more, code, word):
    """A wrong option ends with its exit code and one document, and leaves nothing."""
    done = order(weights, data, tmp_path / "bundle", *more)
    assert done.returncode == code, done.stderr
    assert word in json.loads(done.stdout)["what"]
    assert list(tmp_path.iterdir()) == []


def test_empty_validation_split_is_refused(tmp_path, weights, data):
    """Without validation images nothing can be judged."""
    (tmp_path / "images").mkdir()
    text = data.read_text().replace("path: .", f"path: {data.parent}").replace("images/val", str(tmp_path / "images"))
    (tmp_path / "data.yaml").write_text(text)
    done = order(weights, tmp_path / "data.yaml", tmp_path / "bundle")
    assert done.returncode == ExitCode.DATA
    assert "val" in json.loads(done.stdout)["what"]
