"""Doing what the policy says, and telling of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.config import LimitsSettings
from edge.limits.keeper import LimitsKeeper
from edge.power.interface import Health
from mien.errors import UnavailableError
from mien.messages import Event

LIMITS = LimitsSettings(down_after_s=3, up_after_s=5, rates=(1.0, 0.5), lighter_rates=(0.5, 0.25))


@dataclass
class _Device:
    """A device whose frame rate and variant can be turned, and whose heat is set by the test."""

    has_lighter: bool = True
    opens_own: bool = True
    breaks: bool = False
    hottest_c: float | None = 90.0
    rate: float = 1.0
    lighter: bool = False
    asked: int = 0
    events: list[Event] = field(default_factory=list)
    now_s: int = 0

    def set_rate(self, factor: float) -> None:
        self.rate = factor

    def use_lighter(self, wanted: bool) -> bool:
        self.asked += 1
        if self.breaks:
            raise UnavailableError("the engine's file is gone")
        if self.has_lighter if wanted else self.opens_own:
            self.lighter = wanted
        return self.lighter == wanted

    def tell(self, kind: str, severity: str, message: str, details: tuple[tuple[str, str], ...]) -> None:
        event = {"event_id": "e", "at": 1, "kind": kind, "severity": severity, "message": message}
        self.events.append(Event.model_validate({**event, "details": dict(details)}))

    def keeper(self, limits: LimitsSettings = LIMITS) -> LimitsKeeper:
        return LimitsKeeper(limits, self, health=self.health, tell=self.tell)

    def health(self) -> Health:
        return Health(at_s=self.now_s, hottest_c=self.hottest_c, memory_free=0.5, total_w=12.0)

    def live(self, keeper: LimitsKeeper, seconds: int) -> None:
        for _ in range(seconds):
            keeper.look(self.now_s)
            self.now_s += 1

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


def test_a_hot_device_does_less_step_by_step() -> None:
    """Half the frames, then the lighter variant, then a quarter of the frames; then it says that this was all."""
    device = _Device()
    keeper = device.keeper()
    seen = []
    for _ in range(20):
        device.live(keeper, 1)
        if (device.rate, device.lighter) not in seen:
            seen.append((device.rate, device.lighter))
    assert seen == [(1.0, False), (0.5, False), (0.5, True), (0.25, True)]
    assert device.kinds == [*["limits_stepped_down"] * 3, "limits_exhausted"]


def test_a_cool_device_comes_back_to_full() -> None:
    """The same steps the other way round, and the last word is that all is well."""
    device = _Device()
    keeper = device.keeper()
    device.live(keeper, 20)
    device.hottest_c = 50.0
    device.live(keeper, 30)
    assert (device.rate, device.lighter) == (1.0, False)
    assert device.kinds[4:] == ["limits_stepped_up"] * 3
    assert device.events[-1].severity == "info"


def test_an_event_has_reason_and_figures() -> None:
    """A person reads why, from where to where, and how hot it is."""
    device = _Device()
    device.live(device.keeper(), 4)
    [event] = device.events
    assert event.severity == "warning"
    assert event.message == "too hot: down from own variant at 100% of the frames to own variant at 50% of the frames"
    assert event.details["reasons"] == "heat"
    assert (event.details["rate_before"], event.details["rate"]) == ("1", "0.5")
    assert (event.details["hottest_c"], event.details["total_w"]) == ("90.0", "12.00")


def test_without_a_lighter_variant_the_rates_are_the_ladder() -> None:
    """It is asked for once; the event says that there is no further step, and no step is told that was not taken."""
    device = _Device(has_lighter=False)
    keeper = device.keeper()
    device.live(keeper, 60)
    assert (device.rate, device.lighter, device.asked) == (0.5, False, 1)
    assert device.kinds == ["limits_stepped_down", "limits_exhausted"]
    assert not keeper.step.lighter


def test_a_variant_that_does_not_open_is_as_good_as_none() -> None:
    """Its error ends neither the look nor the device."""
    device = _Device(breaks=True)
    device.live(device.keeper(), 60)
    assert device.kinds == ["limits_stepped_down", "limits_exhausted"]


def test_an_own_variant_that_does_not_open_is_tried_again_later() -> None:
    """The lighter one keeps running meanwhile, and nothing is told that did not happen."""
    device = _Device()
    keeper = device.keeper()
    device.live(keeper, 8)
    assert device.lighter
    device.hottest_c, device.opens_own = 50.0, False
    device.live(keeper, 20)
    assert device.lighter
    assert device.kinds == ["limits_stepped_down"] * 2
    assert device.asked < 8
    device.opens_own = True
    device.live(keeper, 8)
    assert not device.lighter


def test_a_new_release_is_brought_to_the_step() -> None:
    """It starts in its own variant; the device still stands on a lighter step."""
    device = _Device()
    keeper = device.keeper()
    device.live(keeper, 20)
    device.lighter = False
    keeper.model_changed()
    assert (device.rate, device.lighter) == (0.25, True)


def test_a_new_release_without_a_lighter_variant_runs_at_the_lowest_rate() -> None:
    """The nearest step that there is; the next release is asked again."""
    device = _Device()
    keeper = device.keeper()
    device.live(keeper, 20)
    device.lighter, device.has_lighter = False, False
    keeper.model_changed()
    assert (device.rate, keeper.step.lighter) == (0.5, False)
    device.has_lighter = True
    keeper.model_changed()
    device.live(keeper, 10)
    assert device.lighter


def test_a_site_may_switch_it_off() -> None:
    """Then nothing is looked at."""
    device = _Device()
    device.live(device.keeper(LimitsSettings(enabled=False, down_after_s=0)), 30)
    assert (device.rate, device.events) == (1.0, [])


def test_a_device_that_does_less_says_why() -> None:
    """What made it step down, for as long as it stands below everything; nothing at full."""
    device = _Device()
    keeper = device.keeper()
    assert keeper.standing == "own variant at 100% of the frames"
    device.live(keeper, 4)
    assert keeper.standing == "own variant at 50% of the frames (too hot)"
    device.live(keeper, 16)
    device.hottest_c = 50.0
    device.live(keeper, 7)
    assert device.kinds[-1] == "limits_stepped_up"
    assert keeper.standing.endswith("(too hot)")
    device.live(keeper, 60)
    assert keeper.standing == "own variant at 100% of the frames"
