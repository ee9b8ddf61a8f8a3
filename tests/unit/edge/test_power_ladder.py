"""The ladder of power sources: down at once when one fails, up again after a while."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from edge.power.interface import PowerError, PowerSample
from edge.power.ladder import SELDOM_S, SOON_S, Ladder, Rung
from tests.fakes.update_world import FakeClock


@dataclass
class Source:
    """A source that can be there or not, and counts how often it was opened and closed."""

    name: str
    there: bool = True
    opened: int = 0
    closed: int = 0

    def open(self) -> Source:
        """Be opened."""
        self.opened += 1
        if not self.there:
            raise PowerError(f"no {self.name}")
        return self

    def read(self) -> PowerSample:
        """A reading, or the end."""
        if not self.there:
            raise PowerError(f"{self.name} went away")
        return PowerSample(at_s=1.0, total_w=float(len(self.name)))

    def close(self) -> None:
        """Be closed."""
        self.closed += 1


@dataclass
class World:
    """A ladder of three and a clock."""

    clock: FakeClock = field(default_factory=FakeClock)
    jtop: Source = field(default_factory=lambda: Source("jtop"))
    ina3221: Source = field(default_factory=lambda: Source("ina3221"))
    none: Source = field(default_factory=lambda: Source("none"))

    def ladder(self, *sources: Source) -> Ladder:
        """The ladder."""
        return Ladder([Rung(s.name, s.open) for s in sources or (self.jtop, self.ina3221, self.none)], clock=self.clock)


@pytest.fixture
def world() -> World:
    """A world in which every source is there."""
    return World()


def test_the_best_that_answers_is_read(world: World) -> None:
    """A source that is not there is passed over."""
    world.jtop.there = False
    assert world.ladder().name == "ina3221"


def test_a_source_that_dies_is_replaced_at_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is closed and told once, and the next one is read from then on."""
    ladder = world.ladder()
    world.jtop.there = False
    with caplog.at_level(logging.WARNING):
        assert ladder.read() is None
        readings = [ladder.read() for _ in range(3)]
    assert (ladder.name, world.jtop.closed) == ("ina3221", 1)
    assert all(sample is not None and sample.total_w == len("ina3221") for sample in readings)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_better_source_that_is_back_is_taken_again(world: World) -> None:
    """Not at once, but after a while; the one read meanwhile is closed."""
    ladder = world.ladder()
    world.clock.now += 3600
    world.jtop.there = False
    ladder.read()
    world.jtop.there = True
    world.clock.now += SOON_S - 1
    ladder.read()
    assert ladder.name == "ina3221"
    world.clock.now += 1
    ladder.read()
    assert (ladder.name, world.ina3221.closed) == ("jtop", 1)


def test_what_stays_away_is_tried_ever_less_often(world: World) -> None:
    """In two hours a missing service is asked for some twenty times, not seven thousand."""
    world.jtop.there = False
    ladder = world.ladder()
    for _ in range(7200):
        world.clock.now += 1
        ladder.read()
    assert 7200 / SELDOM_S < world.jtop.opened <= 25


def test_a_source_that_flaps_is_tried_ever_less_often(world: World) -> None:
    """One that opens and dies at once does not earn the short wait again."""
    ladder = world.ladder()
    for _ in range(3600):
        world.clock.now += 1
        world.jtop.there = ladder.name != "jtop"
        ladder.read()
    assert 5 < world.jtop.opened < 25


def test_a_single_source_that_is_not_there_is_refused(world: World) -> None:
    """Asked for by name, it is not swapped for another."""
    world.jtop.there = False
    with pytest.raises(PowerError, match="no jtop"):
        world.ladder(world.jtop)


def test_a_single_source_that_dies_leaves_none_until_it_is_back(world: World) -> None:
    """Its name does not stand beside figures that nobody measures."""
    ladder = world.ladder(world.jtop)
    world.jtop.there = False
    assert (ladder.read(), ladder.name) == (None, "none")
    world.jtop.there = True
    world.clock.now += SELDOM_S
    assert ladder.read() is not None
    assert ladder.name == "jtop"


def test_closing_closes_what_is_open(world: World) -> None:
    """Once, and nothing is read afterwards from a closed source."""
    ladder = world.ladder()
    ladder.close()
    ladder.close()
    assert (world.jtop.closed, ladder.name) == (1, "none")


def test_a_source_that_opens_while_all_is_closed_is_closed_too(world: World) -> None:
    """Opening may take seconds; whoever closes meanwhile leaves nothing open."""
    world.jtop.there = False
    ladder = world.ladder()
    late = Source("jtop")

    def open_late() -> Source:
        ladder.close()
        return late.open()

    ladder._rungs = (Rung("jtop", open_late), *ladder._rungs[1:])
    world.clock.now += SELDOM_S
    ladder.read()
    assert (late.opened, late.closed, ladder.name) == (1, 1, "none")
