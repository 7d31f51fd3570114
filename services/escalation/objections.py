"""What is said against outputs that have a case, and facts that come after the case did."""

from collections.abc import Sequence
from datetime import datetime

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation.handling import begin_again
from services.escalation.opening import OUTPUT_COLUMNS, Request, as_said, output_columns
from services.escalation.rules import OPEN_STATES
from services.escalation.timeline import Happening, tell_one
from services.people.rules import SYSTEM

_LOCK = text("""
SELECT c.id, c.state, o.kind FROM "case" c JOIN case_output o ON o.case_id = c.id
WHERE o.tool = :tool AND o.output_id = :output_id FOR UPDATE OF c
""")


def add(session: Session, request: Request, *, now: datetime) -> None:
    """A review is requested of an output that has a case.

    Facts that the case lacks are added. An objection goes onto the case, once however often
    it comes; one that was resolved is opened again for somebody else.
    """
    which = {"tool": request.tool, "output_id": request.output_id}
    case = session.execute(_LOCK, which).one()
    if case.kind is None and request.output is not None:
        _add_facts(session, case.id, request, now=now)
    if request.objection is not None:
        _object(session, case.id, case.state, request.objection, now=now)


_ADD_FACTS = text(f"""
UPDATE case_output o SET ({", ".join(OUTPUT_COLUMNS)}) = (
    SELECT {", ".join(OUTPUT_COLUMNS)} FROM json_to_record(CAST(:facts AS json))
        AS g({", ".join(f"{name} {kind}" for name, kind in OUTPUT_COLUMNS.items())}))
WHERE o.case_id = :id
""")


def _add_facts(session: Session, case_id: int, request: Request, *, now: datetime) -> None:
    """The output has come after all; nobody can have reviewed it yet."""
    facts = to_json(output_columns(request)).decode()
    session.execute(_ADD_FACTS, {"id": case_id, "facts": facts})
    tell_one(session, case_id, Happening.OUTPUT_ARRIVED, SYSTEM, now=now)


_OBJECT = text("""
INSERT INTO objection (case_id, correction_id, actor, said, at)
VALUES (:id, :correction_id, :actor, CAST(:said AS jsonb), :now)
ON CONFLICT DO NOTHING RETURNING case_id
""")

_SHOW = text("""
UPDATE "case" SET dispute = CAST(:said AS jsonb), disputed_by = :actor, version = version + 1
WHERE id = :id
""")


def _object(
    session: Session, case_id: int, state: str, objection: events.Objection, *, now: datetime
) -> None:
    said, who = objection.correction, objection.correction.actor.id
    given = {
        "id": case_id,
        "correction_id": objection.correction_id,
        "actor": who,
        "said": to_json(as_said(objection)).decode(),
        "now": now,
    }
    if session.execute(_OBJECT, given).first() is None:
        return
    session.execute(_SHOW, given)
    if state in OPEN_STATES:
        tell_one(session, case_id, Happening.DISPUTED, who, now=now, note=said.note)
    else:
        begin_again(session, case_id, who=who, note=said.note, now=now)


_WITHDRAW = text("""
UPDATE objection SET withdrawn_at = :now
WHERE case_id = :id AND correction_id = :correction_id AND withdrawn_at IS NULL
RETURNING case_id
""")

_SHOW_LAST = text("""
UPDATE "case" c SET dispute = last.said, disputed_by = last.actor, version = c.version + 1
FROM (SELECT) AS nothing LEFT JOIN LATERAL (
    SELECT said, actor FROM objection WHERE case_id = :id AND withdrawn_at IS NULL
    ORDER BY at DESC, correction_id DESC LIMIT 1) last ON true
WHERE c.id = :id
""")


def withdraw(
    session: Session, withdrawals: Sequence[events.ReviewWithdrawal], *, now: datetime
) -> None:
    """Objections are taken back: each case shows the last one that stands, or none.

    It stays open. Whoever owns it sees what happened, and decides.
    """
    for said in withdrawals:
        which = {"tool": said.tool, "output_id": said.output_id}
        # The case before its objections, as everybody locks them.
        case = session.execute(_LOCK, which).first()
        if case is None:
            continue
        given = {"id": case.id, "correction_id": said.correction_id, "now": now}
        if session.execute(_WITHDRAW, given).first() is not None:
            session.execute(_SHOW_LAST, {"id": case.id})
            tell_one(session, case.id, Happening.DISPUTE_WITHDRAWN, said.actor.id, now=now)
