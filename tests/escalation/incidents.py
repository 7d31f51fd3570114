"""What tests of incidents share: a policy that groups, and what is seen and done of them."""

from datetime import timedelta
from typing import Any

from services.escalation import service
from services.escalation.service import Judgement
from services.escalation.verbs import Limits
from services.kit.database import Database
from services.tools.rules import VerdictKind
from tests.factories import (
    LEASE,
    OWNER,
    Casework,
    actor_of,
    one,
    output,
    rows,
)

GROUPED = """
version: 1
catch_all: {team: support, sla: {claim: 4h, resolve: 1d}}
rules:
  - id: unsure
    when: {trigger: low_confidence}
    owner: {team: support}
    sla: {claim: 30m, resolve: 2h}
    group: {by: [tool, model_version, predicted.category], window: 2h, incident_at: 3}
"""
WINDOW = timedelta(hours=1)
LIMITS = Limits(lease=LEASE, reopen_window=WINDOW, pause=timedelta(days=3))
UPHELD, TAX = Judgement(VerdictKind.UPHELD), Judgement(VerdictKind.CORRECTED, "tax")
STANDING = 'SELECT subject_kind, state, incident, children FROM "case" ORDER BY id'


def unsure(first: int, count: int, **fields: Any) -> list[Any]:
    return [output(f"o-{n}", confidence=0.1, **fields) for n in range(first, first + count)]


def standing(database: Database) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in rows(database, STANDING)]


def incident(database: Database) -> int:
    return int(one(database, "SELECT id FROM \"case\" WHERE subject_kind = 'incident'"))


def parts(database: Database, whole: int) -> list[int]:
    query = 'SELECT id FROM "case" WHERE incident = :whole ORDER BY id'
    return [row.id for row in rows(database, query, whole=whole)]


def happened(database: Database, case: int) -> list[str]:
    query = "SELECT event FROM timeline_entry WHERE case_id = :case ORDER BY id"
    return [row.event for row in rows(database, query, case=case)]


def told(database: Database) -> list[tuple[str, int]]:
    query = "SELECT what, case_id FROM notification WHERE person = :who ORDER BY id"
    return [(row.what, row.case_id) for row in rows(database, query, who=OWNER)]


def decide(casework: Casework, who: str, whole: int, said: Judgement) -> service.Decided:
    """One verdict on all that is part of an incident now."""
    with casework.database.transaction() as session:
        now, actor = casework.clock.now(session), actor_of(session, who)
        found = service.merged_into(session, actor, whole)
        ids = [case.id for case in found]
        return service.decide(session, actor, ids, said, lease=LEASE, now=now)


def undo(casework: Casework, who: str, whole: int, at: Any) -> list[int]:
    """Take back what was decided together at a moment."""
    given = {"at": at, "window": WINDOW}
    return list(casework.do("undo_together", who, whole, **given))
