"""What the queue calls mine: what somebody owns, and what they hold."""

from services.escalation import lists
from services.escalation.policy.read import read as read_policy
from services.escalation.rules import Owner
from services.kit.database import Database
from tests.factories import (
    LEAD,
    OUTSIDER,
    OWNER,
    POLICY,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    output,
    rows,
)
from ui.cases.queue_filter import QueueFilter


def mine(database: Database, who: str, **asked: str) -> list[int]:
    with database.transaction() as session:
        actor = actor_of(session, who)
        wanted = QueueFilter(mine="1", **asked).filter(actor)
        found = [case.id for case in lists.cases(session, actor, wanted)]
        assert lists.count(session, actor, wanted, most=100) == len(found)
        assert lists.newer_than(session, actor, wanted, 0, most=100) == len(found)
    return found


def test_mine_is_what_i_own_and_what_i_hold_the_soonest_due_first(populated: Database) -> None:
    log, casework = Delivery(populated, read_policy(POLICY)), Casework(populated)
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(5)))
    for case in (1, 2, 5):
        casework.do("reassign", LEAD, case, owner=Owner("person", OWNER))
    casework.do("reassign", LEAD, 5, owner=Owner("person", OUTSIDER))
    casework.claim(OWNER, 3)
    casework.claim(TEAMMATE, 2)
    due = "UPDATE \"case\" SET due_at = now() + interval '1 h' / id RETURNING 1"
    rows(populated, due)
    assert mine(populated, OWNER) == [3, 2, 1]
    assert mine(populated, OWNER, state="claimed") == [3, 2]
    assert mine(populated, OWNER, overdue="1") == []
    assert mine(populated, TEAMMATE) == [2]
    assert mine(populated, OUTSIDER) == [5], "whatever its team is"
    casework.give_verdict(TEAMMATE, 2)
    assert mine(populated, OWNER) == [3, 1]
