"""Gaps, ends that lie before the stored offset, and replays."""

from datetime import UTC, datetime, timedelta

from services.kit.consuming import offsets
from services.kit.consuming.offsets import Offsets
from services.kit.eventlog.postgres import PostgresLog
from tests.kit.logs import running
from tests.kit.rig import ONE, Rig
from tests.waiting import throughout, until


def test_offsets_that_are_gone_are_recorded_and_passed_over(rig: Rig) -> None:
    assert isinstance(rig.log, PostgresLog)
    rig.append("0", "1")
    with running(rig.consumer()):
        until(rig.done(2))
    rig.append(*map(str, range(2, 10)))
    rig.log.trim(datetime.now(UTC) + timedelta(hours=1), {ONE: 7})
    with running(rig.consumer()):
        until(rig.done(5))
    assert rig.effects() == ["0", "1", "7", "8", "9"]
    with rig.database.transaction() as session:
        assert offsets.gaps(session) == {"test": 1}
        assert offsets.missing(session, "test", ["topic"]) == 5
        assert offsets.missing(session, "test", ["other"]) == 0
        (position,) = offsets.positions(session)
        assert (position.start_offset, position.next_offset) == (0, 10)


def test_partition_that_ends_before_its_offset_waits_for_a_rewind(rig: Rig) -> None:
    rig.append("0", "1", "2")
    with running(rig.consumer()):
        until(rig.done(3))
    # The topic was made anew, under the same name.
    rig.rows("WITH gone AS (DELETE FROM log_record) SELECT 1")
    rig.rows("WITH reset AS (UPDATE log_partition SET next_offset = 0 RETURNING 1) SELECT 1")
    with running(rig.consumer()):
        until(lambda: rig.rows("SELECT 1 FROM log_gap"))
        rig.append("a", "b", "c", "d")
        throughout(1, lambda: len(rig.effects()) == 3)
    with running(rig.consumer()):
        throughout(1, lambda: len(rig.effects()) == 3)
        with rig.database.transaction() as session:
            offsets.replay(session, "test", rig.log.bounds(["topic"]), 0)
        until(rig.done(7))
    assert rig.effects() == ["0", "1", "2", "a", "b", "c", "d"]
    with rig.database.transaction() as session:
        assert offsets.missing(session, "test", ["topic"]) == 0
        assert offsets.gaps(session) == {"test": 1}


def test_running_consumer_notices_a_rewind(rig: Rig) -> None:
    rig.append("0", "1", "2")
    with running(rig.consumer()):
        until(rig.done(3))
        with rig.database.transaction() as session:
            offsets.replay(session, "test", rig.log.bounds(["topic"]), 1)
        until(rig.done(5))
    assert rig.effects() == ["0", "1", "2", "1", "2"]
    with rig.database.transaction() as session:
        assert [at.taken for at in offsets.positions(session)] == [5]
        assert offsets.replay(session, "test", rig.log.bounds(["topic"]), 99) == 0
    assert rig.position() == 3


def test_replay_never_moves_past_what_nobody_has_read(rig: Rig) -> None:
    rig.append("0", "1", "2")
    with running(rig.consumer()):
        until(rig.done(3))
    rig.append("3", "4")
    with rig.database.transaction() as session:
        assert offsets.replay(session, "test", rig.log.bounds(["topic"]), 5) == 0
        assert offsets.replay(session, "test", rig.log.bounds(["topic"]), 2) == 1
    with running(rig.consumer()):
        until(rig.done(6))
    assert rig.effects() == ["0", "1", "2", "2", "3", "4"]


def test_retention_spares_what_one_consumer_has_yet_to_read(rig: Rig) -> None:
    rig.append("0", "1", "2")
    with running(rig.consumer()):
        until(rig.done(3))
    with rig.database.transaction() as session:
        assert offsets.consumed(session, {"topic": ["test"], "other": ["test"]}) == {ONE: 3}
        assert offsets.consumed(session, {"topic": ["test", "late"]}) == {}
        Offsets("late").load(session, rig.log.bounds(["topic"]))
        assert offsets.consumed(session, {"topic": ["test", "late"]}) == {ONE: 0}
