"""What would be built for a device class: decided without touching anything, refused by name, shown by the command."""

import json
import sys

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from edge.engine.tensorrt.capabilities import NAMES
from mien import cli
from mien.devices import device_class, device_classes, device_names, jetpack_for, jetpack_table
from mien.errors import ConfigError, ExitCode, MienError, UnsupportedError
from optimize.cli_plan import add_to
from optimize.plan import OLDEST_TENSORRT, STRONG_TYPES_SINCE, image_size, make_plan
from optimize.variants import FP16, FP32, INT8
from tests.fakes.small_graph import write_convolution

TABLE = jetpack_table()
CLASSES = {device.name: device for device in device_classes()}
PRECISIONS = ["fp32", "fp16", "int8"]


def planned(name, *, jetpack=None, **asked):
    device = CLASSES[name]
    return make_plan(device, jetpack_for(device, jetpack, TABLE), **asked)


@given(st.sampled_from(device_names()), st.lists(st.sampled_from(PRECISIONS), min_size=1, unique=True))
def test_exactly_what_was_asked_for_is_planned(name, wanted):
    """No precision is added, dropped or swapped, and each has its portable file."""
    builds = planned(name, precisions=wanted).builds
    assert {build.precision for build in builds} == set(wanted)
    files = {"fp32": FP32, "fp16": FP16, "int8": INT8}
    assert [build.file for build in builds] == [files[build.precision] for build in builds]


def test_only_its_own_precision_is_made_from_a_graph():
    """From FP32 comes everything; an INT8 graph is the file itself, and another precision of it is refused."""
    one = planned("orin-nano-8gb", graph="dir/model.int8.onnx", made_in="int8")
    assert [(build.precision, build.file) for build in one.builds] == [("int8", "model.int8.onnx")]
    assert any("the graph's own" in reason for reason in one.reasons)
    assert len(planned("orin-nano-8gb", graph="model.fp32.onnx", made_in="fp32").builds) == 3
    with pytest.raises(ConfigError, match="no other precision") as caught:
        planned("orin-nano-8gb", graph="m.onnx", made_in="int8", precisions=["fp16", "int8"])
    assert caught.value.found == "--precision fp16"


@pytest.mark.parametrize("name", device_names())
def test_every_class_can_be_planned_with_its_defaults(name):
    """The default JetPack is one that mien can build with, and the plan names its TensorRT."""
    plan = planned(name)
    row = next(row for row in TABLE if row.version == plan.jetpack)
    assert plan.tensorrt == row.tensorrt
    assert [build.precision for build in plan.builds] == PRECISIONS
    assert all(row.tensorrt in build.engine for build in plan.builds)
    assert "on the device" in plan.where
    assert f"compute capability {plan.compute_capability}" in plan.why_there


@pytest.mark.parametrize("name", device_names())
@given(version=st.sampled_from([row.version for row in TABLE]))
def test_a_jetpack_is_planned_or_refused_with_a_reason(name, version):
    """Every known version either runs there and is new enough, or the refusal says what would."""
    device = CLASSES[name]
    row = next(row for row in TABLE if row.version == version)
    new_enough = tuple(map(int, row.tensorrt.split(".")[:2])) >= OLDEST_TENSORRT
    if version in device.jetpacks and new_enough:
        assert planned(name, jetpack=version).jetpack == version
        return
    with pytest.raises(UnsupportedError) as caught:
        planned(name, jetpack=version)
    assert caught.value.wanted
    assert caught.value.remedy


def test_how_an_engine_is_built_follows_tensorrts_version():
    """Strong types from TensorRT 10 on, flags before; the builder decides by the same capability."""
    old = planned("orin-nano-8gb", jetpack="6.0").builds[1]
    new = planned("orin-nano-8gb", jetpack="6.2").builds[1]
    assert "the FP16 flag" in old.engine
    assert "strongly typed" in new.engine
    assert STRONG_TYPES_SINCE == 10
    assert "strong_typing" in NAMES


def test_tf32_is_said_where_it_happens():
    """An FP32 engine calculates in TF32 on Orin, and cannot on Xavier."""
    assert "TF32" in planned("orin-nano-8gb").builds[0].engine
    assert "TF32" not in planned("xavier-nx-8gb").builds[0].engine


@pytest.mark.parametrize(
    ("name", "fp32", "int8"),
    [
        ("orin-nano-8gb", "the module has none", "the module has none"),
        ("orin-nx-8gb", "FP16 and INT8 only", "possible on 1 core "),
        ("agx-orin-64gb", "FP16 and INT8 only", "possible on 2 cores "),
    ],
)
def test_dla_is_possible_where_it_is(name, fp32, int8):
    """By the module's cores, and never for FP32."""
    builds = {build.precision: build for build in planned(name).builds}
    assert fp32 in builds["fp32"].dla
    assert int8 in builds["int8"].dla


def test_a_power_mode_is_the_default_or_the_one_asked_for():
    """With the number that this class's configuration gives it: 0 is 15W on Orin Nano, and MAXN on AGX Orin."""
    nano, agx = CLASSES["orin-nano-8gb-super"], CLASSES["agx-orin-64gb"]
    assert planned(nano.name).power_mode == "25W"
    assert "nvpmodel -m 0" in " ".join(planned(nano.name, mode=nano.power_mode("15W")).reasons)
    assert "nvpmodel -m 0" in " ".join(planned(agx.name, mode=agx.power_mode("MAXN")).reasons)
    assert planned("thor-t4000").power_mode is None


def test_what_will_hurt_is_said_beforehand():
    """A Python that is too old, and little memory; a usual device has neither."""
    assert "Python 3.8" in " ".join(planned("agx-xavier-32gb").warnings)
    assert "4 GiB" in " ".join(planned("orin-nano-4gb").warnings)
    assert planned("orin-nano-8gb-super").warnings == ()


def test_a_precision_of_the_hardware_that_mien_does_not_make_is_refused():
    """Thor calculates in FP8; there is no FP8 file."""
    with pytest.raises(UnsupportedError, match="mien makes no file of fp8"):
        planned("thor-t5000", precisions=["int8", "fp8"])


@given(st.integers(min_value=1, max_value=60), st.integers(min_value=1, max_value=60))
def test_image_sizes_are_multiples_of_the_stride(height, width):
    """A side alone is a square; anything else is refused."""
    assert image_size(f"{32 * height}x{32 * width}") == f"{32 * height}x{32 * width}"
    assert image_size(str(32 * height)) == f"{32 * height}x{32 * height}"
    for wrong in (f"{32 * height + 1}", f"{32 * height}x{32 * width}x3", f"{32 * height}x", "-32", "0", "big"):
        with pytest.raises(ConfigError, match="no such image size"):
            image_size(wrong)


@pytest.fixture
def small_graph(tmp_path):
    return write_convolution(tmp_path / "small.onnx")


def run(monkeypatch, capsys, *words):
    """Run one of the two commands as the mien command would: its exit code and what it printed."""
    app = typer.Typer(pretty_exceptions_enable=False)
    add_to(app)
    monkeypatch.setattr(sys, "argv", ["mien", "optimize", *words])
    code = 0
    try:
        app(list(words), standalone_mode=False)
    except MienError as error:
        cli.report(error)
        code = error.exit_code
    printed = capsys.readouterr()
    return code, printed.out


def test_the_command_prints_a_plan_as_json(monkeypatch, capsys):
    """One document that says what, where and why."""
    code, out = run(monkeypatch, capsys, "plan", "--target", "orin-nano-8gb-super", "--precision", "int8", "--json")
    answer = json.loads(out)
    assert code == ExitCode.OK
    assert [build["file"] for build in answer["builds"]] == [INT8]
    assert (answer["jetpack"], answer["tensorrt"], answer["imgsz"]) == ("6.2.1", "10.3.0", "640x640")
    assert answer["outlook"] == []


def test_the_command_shows_tables(monkeypatch, capsys, small_graph):
    """For people: estimates and published figures are told apart."""
    code, out = run(monkeypatch, capsys, "plan", "--target", "agx-xavier-32gb", "--model", str(small_graph))
    assert code == ExitCode.OK
    assert "ESTIMATE" in out
    assert "PUBLISHED" in out
    assert "careful" in out


def test_a_table_fits_a_terminal_of_80_columns(monkeypatch, capsys, small_graph):
    """No name is cut and no figure is split, however long the sentences beside them are."""
    monkeypatch.setenv("COLUMNS", "80")
    _, out = run(monkeypatch, capsys, "plan", "--target", "orin-nx-16gb-super", "--model", str(small_graph))
    assert all(f"│ {name} " in out for name in (FP32, FP16, INT8))
    assert "fp32 (tf32)" in out
    assert "…" not in out.partition("ESTIMATE")[0]
    assert max(map(len, out.splitlines()[2:])) <= 80


def test_a_model_that_is_weights_is_exported_first(monkeypatch, capsys):
    """The option for weights is another one, and a graph is made by a command that is named."""
    code, out = run(monkeypatch, capsys, "plan", "--target", "orin-nx-8gb", "--model", "final.pt", "--json")
    assert code == ExitCode.MODEL
    assert "mien optimize export --weights final.pt" in json.loads(out)["remedy"]


def test_the_classes_are_listed(monkeypatch, capsys):
    """Every file is a row, with its power modes by name and number."""
    code, out = run(monkeypatch, capsys, "targets", "--json")
    rows = json.loads(out)["targets"]
    assert code == ExitCode.OK
    assert [row["name"] for row in rows] == device_names()
    assert {
        mode["name"]: mode["id"] for row in rows if row["name"] == "agx-orin-64gb" for mode in row["power_modes"]
    } == {
        "MAXN": 0,
        "MODE_15W": 1,
        "MODE_30W": 2,
        "MODE_50W": 3,
    }
    code, out = run(monkeypatch, capsys, "targets")
    assert all(name in out for name in ("thor-t5000", "orin-nx-8gb-super"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--target", "orin-nano-8gbsuper"), ExitCode.CONFIG, "did you mean orin-nano-8gb-super"),
        (("--target", "orin-nano-8gb", "--precision", "fp8"), ExitCode.UNSUPPORTED, "8-bit floating point"),
        (("--target", "orin-nano-8gb", "--precision", "in8"), ExitCode.CONFIG, "did you mean int8"),
        (("--target", "orin-nano-8gb", "--precision", ","), ExitCode.CONFIG, "no precision was named"),
        (("--target", "orin-nano-8gb", "--jetpack", "6.22"), ExitCode.CONFIG, "did you mean 6.2"),
        (("--target", "orin-nano-8gb-super", "--jetpack", "6.0"), ExitCode.UNSUPPORTED, "does not run"),
        (("--target", "xavier-nx-8gb", "--jetpack", "4.6.6"), ExitCode.UNSUPPORTED, "TensorRT 8.2.1"),
        (("--target", "orin-nano-8gb", "--power-mode", "25W"), ExitCode.UNSUPPORTED, "15W, 7W"),
        (("--target", "orin-nano-8gb", "--imgsz", "333"), ExitCode.CONFIG, "a multiple of 32"),
        (("--target", "orin-nano-8gb", "--plot", "x.svg"), ExitCode.CONFIG, "a roofline needs a model"),
        (
            ("--target", "orin-nano-8gb", "--architecture", "yolov8n", "--plot", "x.gif"),
            ExitCode.CONFIG,
            ".svg or .png",
        ),
        (("--target", "orin-nano-8gb", "--architecture", "yolov9n"), ExitCode.CONFIG, "did you mean yolov8n"),
        (("--target", "orin-nano-8gb", "--model", "none.onnx"), ExitCode.MODEL, "No such file"),
        (("--target", "orin-nano-8gb", "--model", __file__), ExitCode.MODEL, "an ONNX file"),
        (("--target", "orin-nano-8gb", "--model", "a.onnx", "--weights", "b.pt"), ExitCode.CONFIG, "one of --weights"),
        (("--target", "no/such.yaml"), ExitCode.CONFIG, "no such file"),
    ],
)
def test_bad_input_is_refused_with_its_exit_code(monkeypatch, capsys, words, code, said):
    """Each refusal says what was found or what would be right."""
    got, out = run(monkeypatch, capsys, "plan", *words, "--json")
    assert got == code
    answer = json.loads(out)
    assert said in " ".join(map(str, answer.values()))
    assert answer["wanted"] or answer["remedy"]


def test_a_graph_and_another_image_size_do_not_go_together(monkeypatch, capsys, small_graph):
    """The graph's own size is named."""
    words = ("plan", "--target", "orin-nano-8gb", "--model", str(small_graph), "--imgsz")
    assert run(monkeypatch, capsys, *words, "64", "--json")[0] == ExitCode.OK
    code, out = run(monkeypatch, capsys, *words, "96", "--json")
    assert code == ExitCode.CONFIG
    assert json.loads(out)["wanted"] == "64x64"


def test_a_target_of_ones_own_without_a_peak_says_not_known(monkeypatch, capsys, small_graph, tmp_path):
    """A figure that nobody published is not made up."""
    own = tmp_path / "own.yaml"
    device = device_class("orin-nano-8gb")
    raw = device.model_dump(mode="json") | {"name": "own", "peaks": {}}
    own.write_text(json.dumps(raw))
    code, out = run(monkeypatch, capsys, "plan", "--target", str(own), "--model", str(small_graph), "--json")
    assert code == ExitCode.OK
    estimates = [one["estimate"] for one in json.loads(out)["outlook"]]
    assert [one["why_not"] for one in estimates] == ["no peak of this precision is known"] * 3
