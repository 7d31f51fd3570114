"""Short walks of the machine; `python -m tests.escalation_machine` takes the long one."""

import pytest
from sqlalchemy import text

from services.kit.database import Database
from tests.escalation_machine.ground import Broken
from tests.escalation_machine.machine import prepare, walk
from tests.escalation_machine.policies import SCHEDULES
from tests.escalation_machine.world import World
from tests.factories import LEAD, OWNER, TEAMMATE

STEPS, WALKS = 20_000, 4


@pytest.fixture
def database(populated: Database) -> Database:
    prepare(populated)
    return populated


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=pytest.mark.xdist_group(f"walk {n}")) for n in range(WALKS)]
)
def test_no_promise_is_broken_in_a_short_walk(number: int, database: Database) -> None:
    """Side by side, as they are the longest."""
    walk(database, steps=STEPS // WALKS, at=number * STEPS)


_ANY_MOVE = """ALTER TABLE "case" DISABLE TRIGGER USER"""
_MERGE = """UPDATE "case" SET state = 'merged', merged_at = now(),
    incident = (SELECT max(id) FROM "case") WHERE id = (SELECT min(id) FROM "case")"""
_CLOSE = """UPDATE "case" SET state = 'closed', verdict = 'upheld', verdict_id = 'v',
    verdict_by = 'x' WHERE id = (SELECT max(id) FROM "case")"""
_AS_INCIDENTS = """UPDATE "case" SET subject_kind = 'incident', cause = 'x'"""


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("""UPDATE "case" SET level = 3""", "climbed more often than it has levels"),
        ("DELETE FROM timer WHERE kind = 'claim'", "without its two deadlines"),
        ("UPDATE timer SET stopped_at = now()", "stands while its clock runs"),
        ("""UPDATE "case" SET children = 1""", "miscounted"),
        ("UPDATE timer SET fired_at = now() WHERE kind = 'claim'", "more or less often"),
        ("DELETE FROM outbox", "not told"),
        (
            """ALTER TABLE person DISABLE TRIGGER USER; UPDATE person SET active = false""",
            "without an owner",
        ),
        (f"{_ANY_MOVE}; {_MERGE}; {_CLOSE}", "part of a case that is not open"),
        (f"{_ANY_MOVE}; DROP INDEX uq_case_open_incident; {_AS_INCIDENTS}", "two open incidents"),
        (
            "INSERT INTO outbox (topic, key, value) VALUES ('secondlook.verdicts', '', '')",
            "verdict",
        ),
        (
            """INSERT INTO timeline_entry (case_id, at, event, actor)
            SELECT id, now(), 'resolved', 'x' FROM "case" LIMIT 1""",
            "against its timeline",
        ),
        (
            """INSERT INTO timeline_entry (case_id, at, event, actor)
            SELECT id, now(), 'opened', 'x' FROM "case" LIMIT 1""",
            "opened twice",
        ),
        (
            """INSERT INTO timeline_entry (case_id, at, event, actor)
            SELECT id, now(), 'reminded', 'x' FROM "case" LIMIT 1""",
            "reminded of more often",
        ),
        ("UPDATE timer SET failures = 1, error = 'x', parked_until = now()", "step failed"),
        ("""UPDATE "case" SET due_at = due_at + interval '1 h'""", "due at another time"),
        (
            f"""{_ANY_MOVE}; UPDATE "case" SET state = 'snoozed', pause_reason = 'x',
            paused_since = due_at - interval '1 h', wakes_at = due_at + interval '1 h'""",
            "before it wakes",
        ),
    ],
)
def test_what_is_broken_is_found(broken: str, words: str, database: Database) -> None:
    """A checker that finds nothing proves nothing."""
    with database.engine.connect() as connection:
        world = World(connection)
        world.ask(2, "tax")
        world.check()
        connection.execute(text(broken))
        world.touched = True
        with pytest.raises(Broken, match=words):
            world.check()
        world.close()


def test_output_that_has_no_case_is_found(database: Database) -> None:
    with database.engine.connect() as connection:
        world = World(connection)
        world.ask(1, "tax")
        world.outputs += 1
        with pytest.raises(Broken, match="has no case"):
            world.check()
        world.close()


def test_case_that_whoever_is_on_duty_does_not_own_is_found(database: Database) -> None:
    with database.engine.connect() as connection:
        world = World(connection)
        world.schedule(SCHEDULES[0], (OWNER, TEAMMATE), 12, -1)
        world.route(3, 3, 0, 0)
        world.ask(1, "tax")
        connection.execute(text("""UPDATE "case" SET owner_person = :who"""), {"who": LEAD})
        with pytest.raises(Broken, match="has the duty of first"):
            world.require_duty(SCHEDULES[0])
        world.close()


def test_deadline_that_is_not_what_its_clocks_say_is_found(database: Database) -> None:
    with database.engine.connect() as connection:
        world = World(connection)
        world.ask(1, "tax")
        world.recount()
        later = """UPDATE "case" SET claim_due_at = claim_due_at + interval '1 h'"""
        connection.execute(text(later))
        with pytest.raises(Broken, match="another than its clocks"):
            world.recount()
        world.close()
