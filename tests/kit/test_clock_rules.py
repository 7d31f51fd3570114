"""When a clock is believed, whatever it and the process that reads it go through."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.clock_rules import EVEN, LIMIT, Reading, Standing, judge

BEGUN = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
CONFIRM = 900.0


@dataclass
class World:
    """A wall clock that can be moved, a steady one, and what is known of the two."""

    passed: float = 0.0
    moved: float = 0.0
    confirm_after: float = CONFIRM
    standing: Standing | None = None

    @property
    def wall(self) -> datetime:
        return BEGUN + timedelta(seconds=self.passed + self.moved)

    def look(self, after: float = 2.0, *, held_up: float = 0.0) -> bool:
        """Look again after some seconds; the process may be held up while it does."""
        self.passed += after
        before = 1000.0 + self.passed
        reading = Reading(self.wall, before - held_up, before + held_up)
        judged = judge(self.standing, reading, confirm_after=self.confirm_after)
        if not reading.vague:
            self.standing = judged
        return judged.believed


JUMPS = [3600, -3600, 86_400, -86_400, 61, -61, 10 * 365 * 86_400]
seconds = st.floats(0.01, 3600)


def test_first_reading_is_believed() -> None:
    assert World(moved=86_400).look()


@given(st.lists(st.tuples(st.floats(0.1, 86_400), st.floats(-0.0005, 0.0005)), max_size=60))
def test_clock_that_is_kept_right_little_by_little_is_believed(
    rounds: list[tuple[float, float]],
) -> None:
    world = World()
    for after, drift in rounds:
        world.moved += after * drift
        assert world.look(after)


@given(st.lists(st.tuples(seconds, st.floats(0, 3600)), max_size=30))
def test_process_that_is_held_up_anywhere_takes_nothing_for_a_jump(
    rounds: list[tuple[float, float]],
) -> None:
    world = World()
    for after, held_up in rounds:
        assert world.look(after + held_up, held_up=held_up)


@pytest.mark.parametrize("jump", JUMPS)
def test_clock_that_was_moved_is_not_believed_until_it_is_back(jump: float) -> None:
    world = World()
    world.look()
    world.moved = jump
    assert not any(world.look() for _ in range(100))
    assert world.standing is not None
    assert abs(world.standing.divergence - timedelta(seconds=jump)) < EVEN
    world.moved = 0
    assert world.look()


@pytest.mark.parametrize("jump", JUMPS)
def test_clock_that_goes_on_evenly_for_long_enough_is_believed(jump: float) -> None:
    world = World()
    world.look()
    world.moved = jump
    seen = [world.look() for _ in range(500)]
    assert seen.index(True) * 2.0 == CONFIRM
    assert all(seen[seen.index(True) :])


def test_clock_that_is_moved_again_and_again_has_to_begin_anew_each_time() -> None:
    world = World()
    world.look()
    for _ in range(5):
        world.moved += 600
        assert not any(world.look() for _ in range(400))
    assert [world.look() for _ in range(51)][-1]


def test_clock_that_somebody_confirms_is_believed_at_once() -> None:
    world = World()
    world.look()
    world.moved = 3600
    assert not world.look()
    assert world.standing is not None
    world.standing = world.standing._replace(confirmed=True)
    assert world.look()
    assert world.look()


def test_clock_is_always_believed_where_it_need_not_go_on_evenly() -> None:
    world = World(confirm_after=0)
    world.look()
    world.moved = 3600
    assert world.look()


@given(st.lists(st.tuples(seconds, st.floats(-90, 90)), max_size=60))
def test_what_is_believed_is_never_further_off_than_the_limit_and_what_clocks_drift(
    rounds: list[tuple[float, float]],
) -> None:
    world = World(confirm_after=float("inf"))
    world.look(0.0)
    for after, step in rounds:
        world.moved += step
        if world.look(after):
            assert abs(world.moved) <= LIMIT.total_seconds() + 0.001 * world.passed + 0.001
