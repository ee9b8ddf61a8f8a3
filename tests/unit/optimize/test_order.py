"""What is refused before any work is done, and how bundles come into being."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from mien.errors import BundleError, ConfigError, ModelError, UnavailableError
from optimize.bundle.archive import write_archive
from optimize.bundle.provenance import read_record
from optimize.bundle.staging import check_target, staged
from optimize.graph.export import check_asked, graph_spec
from optimize.graph.weights import check_labels, open_weights
from optimize.torch_runtime import greedy_nms
from optimize.variants import parse_methods, parse_precisions, quantizer_called
from tests.fakes.tiny_bundle import make_bundle


def weights(names=("happy", "sad"), trained=160):
    model = SimpleNamespace(stride=[8, 16, 32])
    return SimpleNamespace(path="w.pt", names=tuple(names), stride=32, trained_size=trained, model=model)


@pytest.mark.parametrize(
    ("text", "wanted"), [(None, (160, 160)), ("320", (320, 320)), ("96x160", (96, 160)), ("96X160", (96, 160))]
)
def test_image_size_is_read(text, wanted):
    """One side, height and width, or the training size."""
    spec = graph_spec(weights(), text, 100)
    assert (spec.height, spec.width) == wanted


@pytest.mark.parametrize(("text", "remedy"), [("100", "128x128"), ("96x170", "96x192"), ("0", "32x32")])
def test_odd_image_size_names_the_next(text, remedy):
    """A size that the stride does not divide is refused, with the next one that works."""
    with pytest.raises(ConfigError) as caught:
        graph_spec(weights(), text, 100)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("text", ["big", "1x2x3", "-32", "160x"])
def test_no_image_size(text):
    """Text that is no size is refused."""
    with pytest.raises(ConfigError, match="size"):
        graph_spec(weights(), text, 100)


def test_no_more_boxes_than_anchors():
    """A small input has fewer anchors than a graph gives by default: 32 × 32 has 16 + 4 + 1. Asking for more is refused."""
    assert graph_spec(weights(), "32").top_k == 21
    assert graph_spec(weights(), "320").top_k == 100
    with pytest.raises(ConfigError, match="that many boxes") as caught:
        graph_spec(weights(), "32", 22)
    assert "1 … 21" in caught.value.wanted


@pytest.mark.parametrize("asked", [("abc", None, 1), (None, 0, 1), (None, None, 0), ("9999", None, 1)])
def test_what_no_graph_takes_needs_no_weights(asked):
    """The form of size, boxes and batch is looked at alone; what only weights can tell is left to them."""
    with pytest.raises(ConfigError):
        check_asked(*asked)
    check_asked("100", 5000, 4)


def test_other_classes_are_refused():
    """Weights and data must know the same classes in the same order."""
    check_labels(weights(), ("happy", "sad"))
    with pytest.raises(ModelError, match="different classes") as caught:
        check_labels(weights(), ("sad", "happy"))
    assert "happy, sad" in caught.value.found


def test_missing_weights_are_told(tmp_path):
    """A path without a file says so, without loading any library."""
    with pytest.raises(ModelError, match="could not open"):
        open_weights(tmp_path / "w.pt")


def test_precisions_are_ordered():
    """However they are written, they are made in one order."""
    assert parse_precisions("int8, FP32") == ("fp32", "int8")


@pytest.mark.parametrize("text", ["int8", "fp32,int4", ""])
def test_impossible_precisions(text):
    """FP32 is needed to judge the others; an unknown one is refused."""
    with pytest.raises(ConfigError, match="precisions"):
        parse_precisions(text)


def test_quantiser_and_methods_are_checked():
    """Unknown names are refused with the known ones."""
    with pytest.raises(ConfigError) as caught:
        quantizer_called("magic")
    assert "modelopt" in caught.value.wanted
    with pytest.raises(ConfigError) as caught:
        parse_methods("mse,magic")
    assert (caught.value.found, "percentile" in caught.value.wanted) == ("magic", True)
    with pytest.raises(ConfigError, match="scales"):
        parse_methods(" ,")


def test_methods_that_were_asked_for_are_not_swapped():
    """All methods without a wish, and with one only what was wished, in that order."""
    assert parse_methods(None) == ("percentile", "mse", "entropy", "max")
    assert parse_methods("MSE, max,mse") == ("mse", "max")


def test_existing_bundle_is_never_overwritten(tmp_path):
    """A packed release is not changed."""
    (tmp_path / "b").mkdir()
    with pytest.raises(BundleError, match="exists already"):
        check_target(tmp_path / "b", "faces", "1.0.0")


@pytest.mark.parametrize(
    ("name", "version"), [("Faces", "1.0.0"), ("faces", "1.0"), ("a/b", "1.0.0"), ("faces", "01.0.0")]
)
def test_malformed_release_is_refused(tmp_path, name, version):
    """Name and version have one form."""
    with pytest.raises(BundleError, match="names no release"):
        check_target(tmp_path / "b", name, version)


def test_bundle_appears_whole_or_not_at_all(tmp_path):
    """While it is made, and when that fails, nothing stands under the final name."""
    with pytest.raises(ValueError, match="stop"), staged(tmp_path / "b") as folder:
        (folder / "model").write_text("x")
        assert not (tmp_path / "b").exists()
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []
    with staged(tmp_path / "b") as folder:
        (folder / "model").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_unwritable_place_is_told(tmp_path):
    """A path below a file cannot be made, and the message says what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError) as caught, staged(tmp_path / "file" / "b"):
        pass
    assert "--out" in caught.value.remedy


def test_archive_depends_on_the_bundle_alone(tmp_path):
    """Packed twice, the same bytes."""
    make_bundle(tmp_path / "b")
    first, second = (write_archive(tmp_path / "b", tmp_path / name) for name in ("1.tar.zst", "2.tar.zst"))
    assert first.read_bytes() == second.read_bytes()


def test_archive_holds_every_file(tmp_path):
    """Manifest first, then each file it names."""
    import io
    import tarfile

    import zstandard

    manifest = make_bundle(tmp_path / "b")
    packed = write_archive(tmp_path / "b", tmp_path / "b.tar.zst").read_bytes()
    content = zstandard.ZstdDecompressor().stream_reader(packed).read()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        names = tar.getnames()
    assert names == [f"faces-1.0.0/{name}" for name in ("manifest.json", *sorted(e.path for e in manifest.entries()))]


def test_damaged_bundle_is_not_archived(tmp_path):
    """A changed byte stops the archive."""
    make_bundle(tmp_path / "b")
    (tmp_path / "b" / "reference.npz").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"reference\.npz"):
        write_archive(tmp_path / "b", tmp_path / "b.tar.zst")


def test_record_must_tell_of_these_weights(tmp_path):
    """A training record of other weights is refused."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"run_id": "r1", "final": {"sha256": "a" * 64}}))
    assert read_record(path, "a" * 64)["run_id"] == "r1"
    with pytest.raises(ConfigError, match="does not tell"):
        read_record(path, "b" * 64)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_no_record(tmp_path, content):
    """A file that is no record is refused."""
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ConfigError, match="training record") as caught:
        read_record(tmp_path / "run.json", "a" * 64)
    assert "run.json" in caught.value.remedy


def test_supplied_nms_keeps_the_strongest_apart():
    """As torchvision defines it: falling score, overlap above the threshold goes, on it stays."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10]], np.float32)
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    assert greedy_nms(boxes, scores, 0.5) == [1, 2, 0]
    assert greedy_nms(boxes, scores, 0.4) == [1, 2]
