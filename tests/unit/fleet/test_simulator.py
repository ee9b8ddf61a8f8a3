"""Simulated devices: what they say, in which order, and that a seed means the same fleet each time."""

from __future__ import annotations

import pytest

from fleet.simulator.chance import Chance
from fleet.simulator.device import Memory, VirtualDevice
from fleet.simulator.interface import Checked, Say
from fleet.simulator.options import chosen_profile, share_of, way_of
from fleet.simulator.profile import ReleaseProfile, SimulationProfile, find_profile, profiles_folder
from fleet.simulator.room import make_room
from mien import topics
from mien.errors import ConfigError, UnsupportedError
from mien.lifecycle import UpdateState
from mien.messages import Desired, Event, Status, Twin, UpdateReport, Window, decode, encode
from mien.release import ReleaseRef

MODELS = {
    topics.STATUS: Status,
    topics.TWIN: Twin,
    topics.WINDOW: Window,
    topics.EVENT: Event,
    topics.UPDATE: UpdateReport,
}
START = 1_800_000_000.0


class Told:
    """A device with a clock of its own, and all that it said."""

    def __init__(self, device: VirtualDevice) -> None:
        self.device, self.now = device, 0.0
        self.says: list[Say] = []
        self.checks = 0
        self._take(device.greet(self.now, START))

    def order(self, version: str, number: str, *, rollback: bool = False) -> None:
        desired = Desired(
            deployment_id=number,
            release=ReleaseRef(name="faces", version=version),
            manifest_sha256="0" * 64,
            issued_at=START,
            rollback=rollback,
        )
        self._take(self.device.told(encode(desired), self.now, START + self.now))

    def take_back(self) -> None:
        self._take(self.device.told(b"", self.now, START + self.now))

    def answer(self, result: Checked) -> None:
        self._take(self.device.checked(result, self.now, START + self.now))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.device.due is not None and self.device.due <= end:
            self.now = self.device.due
            self._take(self.device.proceed(self.now, START + self.now))
        self.now = end

    def heard(self, channel: str) -> list:
        """What the fleet's own decoder reads of it."""
        return [decode(MODELS[channel], one.payload, source=channel) for one in self.says if one.channel == channel]

    def states(self, number: str) -> list[str]:
        return [str(report.state) for report in self.heard(topics.UPDATE) if report.deployment_id == number]

    def _take(self, answer) -> None:
        self.says += answer.says
        self.checks += answer.check is not None


@pytest.fixture
def profile() -> SimulationProfile:
    """The one that comes with mien."""
    return find_profile("jetsons")


def device_of(profile: SimulationProfile, name: str = "sim-1", *, verifies: bool = False, seed: int = 3) -> Told:
    memory = Memory(release="faces@1.0.0")
    return Told(
        VirtualDevice(name, profile, profile.hardware[0], profile.sites[0], seed=seed, memory=memory, verifies=verifies)
    )


def test_every_profile_that_comes_with_mien_loads():
    """A name in the folder is a profile that can be used."""
    names = [path.stem for path in profiles_folder().glob("*.yaml")]
    assert names
    assert [find_profile(name).name for name in names] == names


def test_an_update_goes_through_all_states_and_the_twin_comes_first(profile):
    """As from the real agent: whoever hears of the end knows already what the device runs."""
    told = device_of(profile)
    told.order("1.1.0", "d1")
    told.wait(120)
    assert told.states("d1") == ["downloading", "verifying", "building", "installing", "probing", "committed"]
    assert [report.sequence for report in told.heard(topics.UPDATE)] == [1, 2, 3, 4, 5, 6]
    assert str(told.heard(topics.TWIN)[-1].active) == "faces@1.1.0"
    assert str(told.heard(topics.TWIN)[-1].fallback) == "faces@1.0.0"
    channels = [one.channel for one in told.says if one.channel != topics.WINDOW]
    assert channels[-2:] == [topics.TWIN, topics.UPDATE]


def test_an_order_that_comes_again_changes_nothing(profile):
    """The service sends all orders again when it returns."""
    told = device_of(profile)
    told.order("1.1.0", "d1")
    told.order("1.1.0", "d1")
    told.wait(120)
    told.order("1.1.0", "d1")
    told.wait(120)
    assert told.states("d1").count("committed") == 1


def test_a_release_that_fails_the_probe_is_taken_back_and_refused_from_then_on(profile):
    """The device keeps what it ran, tells of it, and rejects the release the next time."""
    told = device_of(profile.model_copy(update={"fail": 1.0, "fails_in": {"probing": 1.0}}))
    told.order("1.1.0", "d1")
    told.wait(120)
    told.order("1.1.0", "d2")
    assert told.states("d1")[-2:] == ["rolling_back", "rolled_back"]
    assert told.states("d2") == ["rejected"]
    assert [event.kind for event in told.heard(topics.EVENT)] == ["rolled_back"]
    assert str(told.heard(topics.TWIN)[-1].active) == "faces@1.0.0"


def test_a_rollback_downloads_nothing_and_cannot_fail(profile):
    """The slot is there; only switching and probing take time."""
    told = device_of(profile.model_copy(update={"fail": 1.0, "spread": 0.0}))
    told.order("1.0.0", "d1", rollback=True)
    told.wait(5 + 6 * 0.1)
    assert told.states("d1")[-1] == "committed"


@pytest.mark.parametrize(("seconds", "end"), [(1.0, "failed"), (9.0, "committed")])
def test_an_order_is_taken_back_before_the_switch_alone(profile, seconds, end):
    """A device that has switched goes to the end of what it began."""
    told = device_of(profile.model_copy(update={"spread": 0.0}))
    told.order("1.1.0", "d1")
    told.wait(seconds)
    told.take_back()
    told.wait(120)
    assert told.states("d1")[-1] == end


def test_a_newer_order_ends_the_one_before(profile):
    """It is told as superseded, and the newer one runs to its end."""
    told = device_of(profile)
    told.order("1.1.0", "d1")
    told.wait(0.5)
    told.order("1.2.0", "d2")
    told.wait(120)
    reports = told.heard(topics.UPDATE)
    assert [report.error_code for report in reports if report.state is UpdateState.FAILED] == ["superseded"]
    assert told.states("d2")[-1] == "committed"


@pytest.mark.parametrize(("code", "end"), [(None, "committed"), ("bad_signature", "rejected"), ("network", "failed")])
def test_a_device_of_the_sample_waits_for_the_check(profile, code, end):
    """Nothing is installed before the answer; a refusal ends as on a real device."""
    told = device_of(profile, verifies=True)
    told.order("1.1.0", "d1")
    told.wait(120)
    assert told.checks == 1
    assert told.states("d1") == ["downloading"]
    told.answer(Checked(code=code))
    told.wait(120)
    assert told.states("d1")[-1] == end


def test_who_fails_is_decided_by_the_seed_alone(profile):
    """The same devices fail in whatever order they are told; about as many as the profile says; others with another seed."""
    failing = profile.model_copy(update={"fail": 0.2})

    def failed(seed: int, names: list[str]) -> set[str]:
        found = set()
        for name in names:
            told = device_of(failing, name, seed=seed)
            told.order("1.1.0", f"{name}-{seed}-{len(found)}")
            told.wait(300)
            if told.device.memory.release != "faces@1.1.0":
                found.add(name)
        return found

    names = [f"sim-{number}" for number in range(300)]
    first = failed(1, names)
    assert failed(1, names[::-1]) == first
    assert 40 <= len(first) <= 80
    assert failed(2, names) != first


def test_windows_come_each_ten_seconds_and_show_the_release(profile):
    """A release that is slower shows it; the fleet reads every window."""
    slow = ReleaseProfile(fps=0.5, latency=3.0)
    told = device_of(profile.model_copy(update={"releases": {"faces@1.1.0": slow}}))
    told.wait(60)
    before = told.heard(topics.WINDOW)
    assert len(before) == 6
    told.order("1.1.0", "d1")
    told.wait(120)
    after = [window for window in told.heard(topics.WINDOW) if str(window.release) == "faces@1.1.0"]
    assert after[-1].fps < 0.6 * before[-1].fps
    assert after[-1].latency_ms["total"].p95 > 2.5 * before[-1].latency_ms["total"].p95
    assert sum(after[-1].confidence_histogram) == after[-1].detections
    assert len({window.window_id for window in told.heard(topics.WINDOW)}) == len(told.heard(topics.WINDOW))


def test_the_will_is_of_the_same_boot_as_the_greeting(profile):
    """The fleet takes a will of an earlier boot for an old one."""
    told = device_of(profile)
    will = decode(Status, told.device.will, source="will")
    assert (will.state, will.boot_id) == ("offline", told.heard(topics.STATUS)[0].boot_id)


def test_draws_do_not_depend_on_their_order():
    """A draw is a function of its names."""
    chance = Chance(7, "sim-1")
    first = [chance.share("a", n) for n in range(1000)]
    assert [Chance(7, "sim-1").share("a", n) for n in reversed(range(1000))][::-1] == first
    assert 0.45 < sum(first) / len(first) < 0.55
    assert chance.pick({"never": 0.0, "always": 1.0}, "x") == "always"


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5", 0.5), ("100%", 1.0)])
def test_shares_are_read_as_people_write_them(text, share):
    """Percent or a fraction."""
    assert share_of(text, "--fail") == pytest.approx(share)


@pytest.mark.parametrize("text", ["101%", "-1", "few", "%"])
def test_what_is_no_share_is_refused(text):
    """With the option's name."""
    with pytest.raises(ConfigError, match="--fail"):
        share_of(text, "--fail")


def test_the_command_line_changes_the_profile_and_names_the_ways():
    """What is not asked for stays as the profile has it."""
    found = chosen_profile("jetsons", fail="3%", offline=None)
    assert (found.fail, found.offline, found.window_s) == (0.03, 0.0, 10.0)
    assert way_of("store") == "store"
    with pytest.raises(ConfigError) as refused:
        way_of("stores")
    assert "store" in refused.value.wanted


def test_more_connections_than_the_machine_has_are_refused_with_what_to_do():
    """Before anything is opened."""
    with pytest.raises(UnsupportedError) as refused:
        make_room(2_000_000_000)
    assert refused.value.remedy
