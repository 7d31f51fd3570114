"""Routes open cases anew, and reads what became of them."""

from typing import Any

from services.escalation import reapply as reapplying
from services.escalation.policy import revisions
from services.escalation.policy.revisions import PolicyInForce
from services.escalation.reapply import Reapplied
from services.escalation.routing import Router
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from tests.escalation.incidents import unsure
from tests.factories import LEAD, OTHER_TEAM, POLICY, Delivery, actor_of, rows

TO_OTHERS = POLICY.replace(
    "{team: support, priority: P3,", f"{{team: {OTHER_TEAM}, queue: elsewhere, priority: P2,"
)
SOONER = POLICY.replace("{claim: 30m, resolve: 2h}", "{claim: 10m, resolve: 1h}")
LATER = POLICY.replace("{claim: 30m, resolve: 2h}", "{claim: 3h, resolve: 9h}")
LADDER = POLICY.replace("at: 1h, own: user:lea", "at: 40m, own: user:tim")


def delivery_by_policy(database: Database) -> Delivery:
    """Consumers that go by the policy in force, which is the tests'."""
    put(database, POLICY)
    delivery = Delivery(database)
    delivery.escalation._router = Router(PolicyInForce())
    return delivery


def open_some(log: Delivery, database: Database, number: int) -> list[int]:
    """Open so many cases that no rule takes; answers their numbers."""
    log.take(*unsure(0, number))
    return [row.id for row in rows(database, 'SELECT id FROM "case" ORDER BY id')]


def put(database: Database, content: str) -> int:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        return revisions.put(session, content, actor=actor_of(session, LEAD), now=now)


def reapply(database: Database, who: str = LEAD, **given: Any) -> Reapplied:
    with database.transaction() as session:
        actor = actor_of(session, who)
    return reapplying.reapply(database, DatabaseClock(), PolicyInForce(), actor=actor, **given)


def stored(database: Database, case: int) -> Any:
    (row,) = rows(database, 'SELECT * FROM "case" WHERE id = :id', id=case)
    return row


def story(database: Database, case: int) -> list[str]:
    query = "SELECT event FROM timeline_entry WHERE case_id = :id ORDER BY id"
    return [row.event for row in rows(database, query, id=case)]


def age(database: Database, case: int, span: str) -> None:
    """Let a case have been opened so much earlier, and all that is due of it."""
    shift = """
    WITH older AS (UPDATE "case" SET opened_at = opened_at - CAST(:span AS interval),
        cycle_opened_at = cycle_opened_at - CAST(:span AS interval),
        claim_due_at = claim_due_at - CAST(:span AS interval),
        resolve_due_at = resolve_due_at - CAST(:span AS interval),
        due_at = due_at - CAST(:span AS interval) WHERE id = :id)
    UPDATE timer SET due_at = due_at - CAST(:span AS interval) WHERE case_id = :id RETURNING 1"""
    rows(database, shift, id=case, span=span)
