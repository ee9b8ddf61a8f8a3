"""What a reload comes to when the new settings read well and cannot be run with."""

from __future__ import annotations

import pytest

from edge.config import EdgeSettings
from edge.reload import run_with_reloads
from mien.errors import ConfigError, MienError


class Device:
    """Runs once; ``again`` is what the settings file says by then."""

    def __init__(self, log: list[str], settings: EdgeSettings) -> None:
        self._log, self.name = log, settings.camera.source
        if self.name == "nothing":
            raise ConfigError("'nothing' names no camera")
        self._log.append(self.name)

    def run(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing runs."""

    def reload(self) -> None:
        """Nothing runs."""


def settings(source: str) -> EdgeSettings:
    return EdgeSettings.model_validate({"camera": {"source": source}})


@pytest.fixture
def log() -> list[str]:
    """The devices that ran, by their camera."""
    return []


def ran(log: list[str], monkeypatch: pytest.MonkeyPatch, *wanted: str) -> None:
    """Run with the first settings; each end of a device is a reload to the next."""
    following = iter(wanted[1:])

    class Reloading:
        def __init__(self, *_: object) -> None:
            source = next(following, None)
            self.wanted = settings(source) if source else None

        def on_hangup(self) -> Reloading:
            return self

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("edge.reload.Reload", Reloading)
    run_with_reloads(lambda: settings(wanted[0]), lambda chosen: Device(log, chosen))


def test_new_settings_are_run_with(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One device after the other, in the same process."""
    ran(log, monkeypatch, "a", "b")
    assert log == ["a", "b"]


def test_settings_that_cannot_be_run_with_give_way_to_those_before(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped camera costs a restart of the frames, not the device."""
    ran(log, monkeypatch, "a", "nothing")
    assert log == ["a", "a"]


def test_first_settings_that_cannot_be_run_with_end_the_agent(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to go back to: the error is the person's to see."""
    with pytest.raises(MienError, match="names no camera"):
        ran(log, monkeypatch, "nothing")
