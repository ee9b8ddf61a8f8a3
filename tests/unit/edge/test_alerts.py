"""Alerts between windows."""

from __future__ import annotations

import pytest

from edge.telemetry.alerts import alerts_between
from mien.messages import Power, Window
from mien.release import ReleaseRef


def _window(**more: object) -> Window:
    values: dict[str, object] = {
        "window_id": "w",
        "sequence": 1,
        "boot_id": "b",
        "started_at": 0,
        "ended_at": 1,
        "frames": 10,
        "fps": 10,
        "power": Power(source="none"),
        "release": ReleaseRef(name="faces", version="1.0.0"),
    }
    return Window.model_validate({**values, **more})


@pytest.mark.parametrize(
    ("before", "now", "kinds"),
    [
        (None, _window(), []),
        (None, _window(throttled=True), ["throttled"]),
        (_window(throttled=True), _window(throttled=True), []),
        (_window(), _window(over_current=True), ["over_current"]),
        (_window(), _window(frames=0), ["frames_stopped"]),
        (_window(frames=0), _window(frames=0), []),
        (_window(frames=0), _window(), ["frames_back"]),
        (_window(), _window(frames=0, release=None), []),
        (_window(power=Power(source="jtop")), _window(power=Power(source="ina3221")), ["power_source_changed"]),
        (_window(power=Power(source="jtop")), _window(), ["power_source_lost"]),
        (_window(), _window(power=Power(source="jtop")), ["power_source_changed"]),
        (None, _window(power=Power(source="rapl")), []),
    ],
)
def test_a_condition_is_told_once(before: Window | None, now: Window, kinds: list[str]) -> None:
    """Where it begins or ends, not in every window, and not across a change of release."""
    assert [alert.kind for alert in alerts_between(before, now)] == kinds


def test_an_alarm_names_what_raised_it() -> None:
    """A person sees which device or rail it was, and not a hundred of them."""
    now = _window(throttled=True, alarms=tuple(f"cpufreq-cpu{number}" for number in range(12)))
    message = alerts_between(None, now)[0].message
    assert "cpufreq-cpu0" in message
    assert "cpufreq-cpu11" not in message


def test_a_change_of_source_names_both() -> None:
    """Figures of two sources are not the same figures."""
    before, now = _window(power=Power(source="jtop")), _window(power=Power(source="ina3221"))
    assert alerts_between(before, now)[0].message == "power figures come from ina3221 instead of jtop"
