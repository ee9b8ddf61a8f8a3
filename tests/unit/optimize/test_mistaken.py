"""Files of another kind than an option takes: each refusal names what was probably meant."""

import pytest

from mien.errors import BundleError, ConfigError, ModelError
from mien.release import MANIFEST
from optimize.graph.classes import check_classes
from optimize.mistaken import check_bundle, check_graph, check_pair, check_weights


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("option", "data", "model"),
    [
        ("--weights", "final.pt", "data.yaml"),
        ("--model", "m.onnx", "data.yml"),
        ("--weights", "my final.pt", "faces"),
    ],
)
def test_swapped_files_are_told_apart(tmp_path, option, data, model):
    """The remedy is the two options as they should have been, ready to be copied into a shell."""
    touch(tmp_path / "faces" / "data.yaml")
    with pytest.raises(ConfigError, match="changed places") as caught:
        check_pair(option, tmp_path / model, tmp_path / data)
    quoted = f"'{tmp_path / data}'" if " " in data else str(tmp_path / data)
    assert caught.value.remedy == f"give {option} {quoted} --data {tmp_path / model}"


def test_a_model_is_no_data_set(tmp_path):
    """Weights given twice are no swap, and still no data set."""
    with pytest.raises(ConfigError, match="is no data set") as caught:
        check_pair("--weights", tmp_path / "a.pt", tmp_path / "b.pt")
    assert "data.yaml" in caught.value.wanted
    check_pair("--weights", tmp_path / "a.pt", tmp_path / "data.yaml")


def test_weights_are_exported_first(tmp_path):
    """The command is given whole, and what it writes is what is asked for next."""
    with pytest.raises(ModelError, match="is weights, not a graph") as caught:
        check_graph(tmp_path / "final.pt")
    graph = tmp_path / "final.fp32.onnx"
    assert f"mien optimize export --weights {tmp_path / 'final.pt'} --out {graph};" in caught.value.remedy
    assert caught.value.remedy.endswith(f"--model {graph}")
    check_graph(graph)


@pytest.mark.parametrize("name", ["final.pt", "weights/final.pt", "mine/weights/final.pt"])
def test_a_folder_of_weights_names_them(tmp_path, name):
    """Those of a training's output are found, the final ones first."""
    final = touch(tmp_path / name)
    touch(final.with_name("early.pt"))
    with pytest.raises(ModelError, match="is no checkpoint") as caught:
        check_weights(tmp_path)
    assert caught.value.found == "a folder"
    assert caught.value.remedy == f"name one of those in it: {final}, {final.with_name('early.pt')}"


def test_an_empty_folder_says_what_is_wanted(tmp_path):
    """Where there is nothing to name, the usual place is."""
    with pytest.raises(ModelError) as caught:
        check_weights(tmp_path)
    assert "weights/final.pt of 'mien train run'" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m.onnx", "the .pt that it was exported from"),
        ("yolov8n.yaml", "mien train run"),
        ("w.pth", "name a detector's"),
    ],
)
def test_other_files_are_no_weights(tmp_path, name, said):
    """By its name a graph, an architecture or another framework's file is told before it is read."""
    with pytest.raises(ModelError, match="is no checkpoint") as caught:
        check_weights(touch(tmp_path / name))
    assert said in caught.value.remedy


def test_a_bundle_is_no_graph_but_has_some(tmp_path):
    """The graphs of the bundle are named; a data set and an empty folder are none either."""
    touch(tmp_path / MANIFEST)
    graph = touch(tmp_path / "model.fp32.onnx")
    with pytest.raises(ModelError) as caught:
        check_graph(tmp_path)
    assert (caught.value.found, str(graph) in caught.value.remedy) == ("a release bundle", True)
    with pytest.raises(ModelError, match="is no graph") as caught:
        check_graph(tmp_path / "data.yaml")
    assert "--data" in caught.value.remedy


def test_classes_are_the_same_in_the_same_order():
    """A class is its number, so another order is another meaning; long lists are cut."""
    check_classes("graph", "m.onnx", ("a", "b"), ["a", "b"])
    many = [str(index) for index in range(80)]
    with pytest.raises(ModelError, match="know different classes") as caught:
        check_classes("graph", "m.onnx", many, ["b", "a"])
    assert caught.value.found == f"graph: 80: {', '.join(many[:12])} …"
    assert caught.value.wanted == "data set: 2: b, a"


@pytest.mark.parametrize(("name", "kind"), [("final.pt", "weights"), ("model.onnx", "a graph")])
def test_weights_and_graphs_are_no_bundle(tmp_path, name, kind):
    """They are told by their name and not taken for a damaged archive; a folder may be called so."""
    with pytest.raises(BundleError, match=f"is {kind}, not a bundle") as caught:
        check_bundle(touch(tmp_path / name))
    assert "mien optimize run --weights" in caught.value.remedy
    check_bundle(tmp_path / "b.tar.zst")
    (tmp_path / "folder.pt").mkdir()
    check_bundle(tmp_path / "folder.pt")
