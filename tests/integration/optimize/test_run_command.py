"""What ``mien optimize run`` refuses before any work is done, and how it says so."""

import json

import pytest

from mien.errors import ExitCode
from tests.fakes.optimize_command import mien


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--version", "1"), "--version 1"),
        (("--name", "My Faces"), "--name My Faces"),
        (("--name", "a@1.0.0"), "--name a@1.0.0"),
    ],
)
def test_a_bad_name_or_version_is_a_wrong_configuration(tmp_path, words, fault):
    """Code 3, as README has it, before the weights are looked at; the form that is wanted is given."""
    common = ("--weights", tmp_path / "w.pt", "--data", tmp_path / "data.yaml", "--out", tmp_path / "bundle")
    done = mien("run", *common, *words, "--json")
    assert done.returncode == ExitCode.CONFIG, done.stderr
    faults = json.loads(done.stdout)["faults"]
    assert [one.startswith(fault) for one in faults] == [True]


def test_a_drill_has_a_version_too(tmp_path):
    """The same form is wanted of a rehearsal."""
    done = mien("drill", tmp_path, "--version", "two", "--out", tmp_path / "out", "--json")
    assert done.returncode == ExitCode.CONFIG, done.stderr
    assert "--version two" in json.loads(done.stdout)["faults"][0]


def test_swapped_weights_and_data_are_told_apart(tmp_path):
    """The two options are given back as they should have been."""
    done = mien("run", "--weights", "data.yaml", "--data", "final.pt", "--out", tmp_path / "bundle", "--json")
    assert done.returncode == ExitCode.CONFIG, done.stderr
    assert json.loads(done.stdout)["remedy"] == "give --weights final.pt --data data.yaml"


def test_a_finished_run_names_what_comes_next(tmp_path, weights, data):
    """Commands for the bundle that was written, and a note where the class is planned with another image size."""
    limits = tmp_path / "wide.yaml"
    limits.write_text("max_map50_95_loss: 1\nmax_class_loss: 1\nmax_confidence_shift: 1\nmin_reference_agreement: 0\n")
    bundle = tmp_path / "bundle"
    common = ("run", "--weights", weights, "--data", data, "--precision", "fp32", "--gate", limits, "--json")
    done = mien(*common, "--target", "orin-nano-8gb", "--out", bundle)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [command.rpartition(" ")[0].split()[1:3] for command in said["next"]] == [
        ["optimize", "inspect"], ["edge", "run"], ["fleet", "publish"],
    ]  # fmt: skip
    assert all(str(bundle) in command for command in said["next"])
    assert ["--imgsz 640" in note and "96x96" in note for note in said["notes"]] == [True]
