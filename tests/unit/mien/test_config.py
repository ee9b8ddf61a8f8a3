"""Configuration: one report with every fault, or a frozen value."""

import pytest

from mien.config import Settings, nearest, read_settings, settings_from
from mien.errors import ConfigError


class Inner(Settings):
    window_s: float = 10.0
    token: str = ""


class Outer(Settings):
    name: str
    telemetry: Inner = Inner()
    extras: tuple[Inner, ...] = ()


def test_a_good_file_becomes_a_frozen_value(tmp_path):
    """Values are read, defaults filled in, and nothing can be changed afterwards."""
    file = tmp_path / "c.yaml"
    file.write_text("name: a\ntelemetry: {window_s: 2}\n")
    settings = read_settings(Outer, file)
    assert settings.telemetry.window_s == 2.0
    with pytest.raises(ValueError, match="frozen"):
        settings.name = "b"


def test_all_faults_stand_in_one_report():
    """A missing key, a wrong type, an unknown nested key and a placeholder are named together."""
    with pytest.raises(ConfigError) as caught:
        settings_from(Outer, {"telemetry": {"window": 1, "window_s": "x", "token": "changeme"}}, source="edge.yaml")
    report = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 4
    assert "telemetry.window: unknown key; did you mean window_s?" in report
    assert "name: missing" in report
    assert "telemetry.token: still a placeholder" in report


def test_a_secret_is_never_repeated_in_the_report():
    """A wrong value of a secret key is masked."""
    with pytest.raises(ConfigError) as caught:
        settings_from(Inner, {"token": ["hunter2"]}, source="x")
    assert "hunter2" not in str(caught.value)


def test_unknown_keys_inside_lists_find_their_names():
    """The nearest name is looked up in the section where the fault stands."""
    with pytest.raises(ConfigError, match="did you mean window_s"):
        settings_from(Outer, {"name": "a", "extras": [{"windows": 1}]}, source="x")


def test_what_is_not_yaml_names_its_line(tmp_path):
    """A syntax error says where it stands."""
    file = tmp_path / "c.yaml"
    file.write_text("name: a\n  b: [\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_settings(Outer, file)


def test_a_missing_file_is_one_sentence(tmp_path):
    """No traceback for a wrong path."""
    with pytest.raises(ConfigError, match="no such file"):
        read_settings(Outer, tmp_path / "none.yaml")


def test_command_line_values_win(tmp_path):
    """Overrides replace what the file says; options that were not given do not."""
    file = tmp_path / "c.yaml"
    file.write_text("name: a\n")
    assert read_settings(Outer, file, {"name": "b", "telemetry": None}).name == "b"


def test_nearest_gives_nothing_for_something_else():
    """A name that is like none gets no wild guess."""
    assert nearest("zzzz", ["window_s", "token"]) == []
