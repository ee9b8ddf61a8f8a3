"""The data commands as a user runs them."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def mien(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mien", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def hashes(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    out = tmp_path_factory.mktemp("rendered") / "data"
    done = mien("train", "synth", "--out", out, "--train", 40, "--val", 16, "--size", 96, "--seed", 3, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_the_number_of_processes_does_not_matter(rendered, tmp_path):
    """One process renders the same bytes as one for each core."""
    out, _ = rendered
    other = tmp_path / "other"
    common = ("--train", 40, "--val", 16, "--size", 96, "--seed", 3)
    assert mien("train", "synth", "--out", other, *common, "--jobs", 1).returncode == 0
    assert hashes(other) == hashes(out)


def test_a_rendered_data_set_passes_its_check(rendered, tmp_path):
    """The page and the JSON document say so too."""
    page = tmp_path / "check.html"
    done = mien("train", "data", "check", rendered[0], "--report", page, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True
    assert "Fit to train on" in page.read_text()


def test_the_hash_is_the_version(rendered):
    """What synth reported is what hash prints; one changed label is another version."""
    out, answer = rendered
    assert mien("train", "data", "hash", out).stdout.strip() == answer["sha256"]
    label = next((out / "labels" / "train").iterdir())
    before = label.read_bytes()
    label.write_text("0 0.5 0.5 0.5 0.5\n")
    changed = mien("train", "data", "hash", out).stdout.strip()
    label.write_bytes(before)
    assert changed != answer["sha256"]


def test_a_broken_data_set_ends_with_its_own_code(rendered, tmp_path):
    """Every fault stands in one report; stdout is one JSON document with verdict, findings and remedy."""
    data = tmp_path / "data"
    assert mien("train", "synth", "--out", data, "--train", 8, "--val", 4, "--size", 96, "--jobs", 1).returncode == 0
    (data / "labels" / "train" / "000001.txt").write_text("9 0.5 0.5 0.5 0.5\n0 0.5\n")
    (data / "images" / "train" / "000002.jpg").write_bytes(b"")
    (data / "images" / "val" / "000009.jpg").write_bytes((data / "images" / "train" / "000000.jpg").read_bytes())
    done = mien("train", "data", "check", data, "--json")
    assert done.returncode == 4
    answer = json.loads(done.stdout)
    kinds = {finding["kind"] for finding in answer["findings"] if finding["severity"] == "error"}
    assert {"class_range", "label_line", "unreadable", "leakage"} <= kinds
    assert answer["ok"] is False
    assert answer["remedy"]


def test_help_comes_without_the_heavy_libraries():
    """Asking for help imports neither torch nor OpenCV."""
    code = (
        "import sys; sys.argv = ['mien', 'train', 'run', '--help']\n"
        "from mien.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'cv2', 'ultralytics', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")
