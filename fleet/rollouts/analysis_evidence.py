"""Decides which telemetry windows count as evidence, and for how much. Pure.

A window counts when it shows the release that is judged and was measured in the span that is judged, by the device's
clock set right with what its own live windows show of it: the backlog of an outage that lies in the span is evidence,
one from before is none. Of windows that tell of the same moments (sent again under another name, or merged over others
that came too) the first counts alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleet.rollouts.analysis_values import Sample, sample_of
from mien.messages import Window

_SLACK_S = 1.0
_MOST_MERGED = 10_000
"""Windows that one may stand for: more than a day of them, and no device merges that far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A window, whose it is, and when it came (the fleet's clock)."""

    device_id: str
    at: float
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the devices whose windows are looked at."""

    hardware: Mapping[str, str] = field(default_factory=dict)
    """Hardware class of each."""
    agreements: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """The release each last probed, and what the probe found."""


def samples(
    arrived: Sequence[Arrived],
    releases: Mapping[str, str | None],
    known: Known,
    *,
    since: Mapping[str, float] | float,
    before: float = float("inf"),
    unlike: str | None = None,
) -> list[Sample]:
    """The windows that count, as samples.

    Args:
        arrived: windows in the order of their arrival.
        releases: the release that each device's windows must show; ``None`` takes any but ``unlike``.
        known: of these devices.
        since: where the span begins, for all devices or for each.
        before: where it ends.
        unlike: a release that does not count.
    """
    mine = [item for item in arrived if item.device_id in releases and item.window.release is not None]
    late = _lateness(mine)
    told: dict[tuple[str, str], set[int]] = {}
    found: list[Sample] = []
    for item in mine:
        wanted, shown = releases[item.device_id], str(item.window.release)
        start = since if isinstance(since, (int, float)) else since.get(item.device_id, float("inf"))
        began = item.window.started_at + late[item.device_id]
        if shown != (wanted or shown) or shown == unlike or began < start - _SLACK_S or began >= before:
            continue
        weight = _new_moments(item, told)
        if weight:
            found.append(_sample(item, known, weight))
    return found


def devices_of(found: Iterable[Sample]) -> frozenset[str]:
    """The devices that samples are of."""
    return frozenset(sample.device for sample in found)


def fewest(
    candidates: Collection[str], hardware: Mapping[str, str], *, most: int, order: Mapping[str, str]
) -> set[str]:
    """So many devices of each hardware class at most, by a fixed order: enough to compare with, and no more to read."""
    taken: dict[str, int] = {}
    chosen: set[str] = set()
    for device_id in sorted(candidates, key=lambda one: order[one]):
        kind = hardware.get(device_id, "")
        if taken.get(kind, 0) < most:
            taken[kind] = taken.get(kind, 0) + 1
            chosen.add(device_id)
    return chosen


def _lateness(arrived: Iterable[Arrived]) -> dict[str, float]:
    """How far each device's clock lies behind the fleet's: its promptest window shows it, for live ones go first."""
    least: dict[str, float] = {}
    for item in arrived:
        late = item.at - item.window.ended_at
        least[item.device_id] = min(late, least.get(item.device_id, late))
    return least


def _new_moments(item: Arrived, told: dict[tuple[str, str], set[int]]) -> int:
    """How many windows a window stands for: none when some of them were counted already."""
    window = item.window
    if window.merged > _MOST_MERGED:
        return 0
    seen = told.setdefault((item.device_id, window.boot_id), set())
    numbers = set(range(max(0, window.sequence - window.merged + 1), window.sequence + 1))
    if numbers & seen:
        return 0
    seen |= numbers
    return window.merged


def _sample(item: Arrived, known: Known, weight: int) -> Sample:
    probed = known.agreements.get(item.device_id)
    return sample_of(
        item.window,
        device=item.device_id,
        hardware=known.hardware.get(item.device_id, ""),
        weight=float(weight),
        agreement=probed[1] if probed is not None and probed[0] == str(item.window.release) else None,
    )
