"""Configuration: one report with every fault, or a frozen value."""

from typing import Literal

import pytest
from pydantic import Field, model_validator

from mien.config import Settings, nearest, read_settings, settings_from
from mien.errors import ConfigError
from mien.faults import form_of


class Inner(Settings):
    window_s: float = 10.0
    token: str = ""


class Outer(Settings):
    name: str
    telemetry: Inner = Inner()
    extras: tuple[Inner, ...] = ()


class Camera(Settings):
    name: str = "camera"
    fps: float = Field(default=10, gt=0)


class Device(Settings):
    cameras: tuple[Camera, ...] = Field(default=(), max_length=4)
    modes: tuple[Literal["day", "night"], ...] = Field(default=("day",), min_length=1)
    least: float = 1
    most: float = 2

    @model_validator(mode="after")
    def _agrees(self):
        if len({one.name for one in self.cameras}) < len(self.cameras):
            raise ValueError("two cameras are named alike")
        if self.least > self.most:
            raise ValueError("least is above most")
        return self


def faults_of(values):
    with pytest.raises(ConfigError) as caught:
        settings_from(Device, values, source="x")
    return list(caught.value.faults)


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


def test_what_does_not_agree_stands_beside_wrong_values():
    """A wrong rate of one camera does not hide that two are named alike; entries count from one and have names."""
    faults = faults_of({"cameras": [{"name": "door"}, {"name": "door", "fps": 0}]})
    assert faults == ["cameras.2 (door).fps: must be above 0 (found 0)", "(whole file): two cameras are named alike"]


def test_a_default_in_place_of_a_wrong_value_is_not_judged():
    """Whether ``least`` is above ``most`` cannot be told where ``most`` is no number."""
    assert faults_of({"least": 5, "most": "x"}) == ["most: must be a number (found 'x')"]
    assert faults_of({"cameras": [{"name": 3}, {}]}) == ["cameras.1.name: must be text (found 3)"]


def test_one_mistake_counts_once():
    """A list whose only entry is wrong is not called too short besides."""
    assert faults_of({"modes": ["dusk"]}) == ["modes.1: must be 'day' or 'night' (found 'dusk')"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"^[0-9a-f]{64}$", "must consist of digits, a to f, 64 characters"),
        (
            r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            (
                "must consist of small letters, capital letters, digits, '.', '_', '-', "
                "the first out of small letters, capital letters, digits"
            ),
        ),
        (
            r"^[a-z0-9][a-z0-9 -]{0,39}$",
            "must consist of small letters, digits, space, '-', the first out of small letters, digits, at most 40",
        ),
        (r"^\d+x\d+$", "must have the form NxN, each N a number"),
        (r"^\d+(\.\d+){1,2}$", "must have the form N.N or N.N.N, each N a number"),
        (r"^(a|b)$", "must have the form ^(a|b)$"),
    ],
)
def test_patterns_are_told_in_words(pattern, words):
    """Sets of characters and numbers with signs between them; anything else is shown as it is."""
    assert form_of(pattern) == words


def test_a_list_is_no_table_of_settings(tmp_path):
    """It is said what it is and how settings are written."""
    (tmp_path / "c.yaml").write_text("- name: a\n")
    with pytest.raises(ConfigError, match="not a table") as caught:
        read_settings(Outer, tmp_path / "c.yaml")
    assert (caught.value.found, "key: value" in caught.value.remedy) == ("a list", True)


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
