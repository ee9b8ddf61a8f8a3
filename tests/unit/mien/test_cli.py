"""The mien command: light, lazy, and honest about what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mien import cli
from mien.errors import ConfigError, ExitCode, UnsupportedError


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "mien", *arguments], capture_output=True, text=True, check=False)


def test_help_imports_none_of_the_parts():
    """--help lists the parts without loading one of them or their libraries."""
    code = (
        "import sys\nsys.argv=['mien','--help']\nfrom mien import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy={'edge','trainer','optimize','fleet','numpy','cv2','torch','fastapi'}&set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(part in done.stdout for part in ("train", "optimize", "edge", "fleet", "demo"))


def test_a_missing_extra_is_named(monkeypatch):
    """A library that is not installed becomes one sentence with the command that installs it."""
    monkeypatch.setitem(cli._PARTS, "edge", ("no_such_library_at_all", "edge", ""))
    with pytest.raises(UnsupportedError, match=r"pip install '.\[edge\]'"):
        cli.load_part("edge")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error_of_mien(tmp_path):
    """Its reader tells of it with the code of its kind; the command line alone was not wrong."""
    (tmp_path / "data.yaml").touch(mode=0)
    done = run("train", "data", "check", "--data", str(tmp_path / "data.yaml"))
    assert done.returncode == ExitCode.CONFIG, done.stderr
    assert "ermission denied" in done.stderr


def test_no_command_looks_whether_a_file_may_be_read():
    """It is left to whoever opens the file, in groups within groups too."""
    app, inner = typer.Typer(), typer.Typer()
    option = typer.Option(None)

    @inner.command()
    def look(path: Path = option):
        """Nothing."""

    app.add_typer(inner, name="inner")
    assert option.readable
    cli._leave_reading_to_readers(app)
    assert not option.readable


def test_an_unknown_command_is_a_usage_error():
    """Exit code 2, no traceback."""
    done = run("nonsense")
    assert done.returncode == ExitCode.USAGE
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense", "--json"), "nonsense"),
        (("--json",), "--json"),
        (("fleet", "devices", "--json", "--url"), "requires an argument"),
    ],
)
def test_a_wrong_command_line_is_json_too(monkeypatch, capsys, words, said):
    """A program that asked for JSON gets one document for a slip of its own as well, with the command to look at."""
    monkeypatch.setattr(sys, "argv", ["mien", *words])
    monkeypatch.setattr(cli, "end_in_order", lambda: None)  # the signals are pytest's
    with pytest.raises(SystemExit) as ended:
        cli.main()
    answer = json.loads(capsys.readouterr().out)
    assert ended.value.code == ExitCode.USAGE
    assert answer["error"] == "UsageError"
    assert said in answer["what"]
    assert "--help" in answer["remedy"]


def test_an_error_is_shown_with_its_parts_and_as_json(monkeypatch, capsys):
    """People get the sentence and the next step on stderr, machines one document on stdout."""
    monkeypatch.setattr(sys, "argv", ["mien", "x", "--json"])
    cli.report(ConfigError("it broke", found="[a]", remedy="mend it", faults=("one: bad",)))
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "error": "ConfigError", "what": "it broke", "found": "[a]", "wanted": "", "remedy": "mend it", "faults": ["one: bad"],
    }  # fmt: skip
    assert "it broke" in shown.err
    assert "mend it" in shown.err
    assert "[a]" in shown.err
