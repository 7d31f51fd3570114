"""Opinions of several reviewers on one case: kept as they were said, and what is shown of them."""

from datetime import datetime
from typing import NamedTuple

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import impartial, judgement
from services.escalation.cases import Case, Json, Listed
from services.escalation.errors import NothingToSettle
from services.escalation.judgement import Asks, Opinion, Standing
from services.escalation.rules import OPEN_STATES
from services.people.rules import Actor, Verb
from services.tools.rules import VerdictKind

_OF_CASE = text(f"""
SELECT p.reviewer, p.verdict, p.value, p.note, NOT (
    {impartial.OBJECTS.format(who="p.reviewer")} OR {impartial.CORRECTED.format(who="p.reviewer")}
) AS counts,
    p.blind AND NOT c.blind AS stays
FROM opinion p JOIN "case" c ON c.id = p.case_id
WHERE p.case_id = :id AND p.cycle = :cycle AND p.taken_back_at IS NULL ORDER BY p.id
""")


def of(session: Session, case: Case) -> list[Opinion]:
    """The opinions that stand in the case's present cycle, as they were given; those of people who
    disputed or corrected its output since count no more."""
    rows = session.execute(_OF_CASE, {"id": case.id, "cycle": case.cycle})
    return [Opinion(who, VerdictKind(kind), *rest) for who, kind, *rest in rows]


def standing(case: Case, given: list[Opinion]) -> Standing:
    """What follows from these opinions on a case."""
    return judgement.standing(given, reviewers=case.reviewers, tools_value=case.value)


_ADD = text("""
INSERT INTO opinion (case_id, cycle, reviewer, verdict, value, note, blind, given_at)
VALUES (:id, :cycle, :reviewer, :verdict, CAST(:value AS jsonb), :note, :blind, :now)
RETURNING id
""")


def add(session: Session, case: Case, opinion: Opinion, *, now: datetime) -> int:
    """Keep an opinion on a case that is locked; answers its number."""
    value = None if opinion.value is None else to_json(opinion.value).decode()
    given = {
        "id": case.id,
        "cycle": case.cycle,
        "reviewer": opinion.reviewer,
        "verdict": opinion.verdict.value,
        "value": value,
        "note": opinion.note,
        "blind": case.blind,
        "now": now,
    }
    return int(session.execute(_ADD, given).scalar_one())


_TAKE_BACK = text("""
UPDATE opinion SET taken_back_at = :now
WHERE case_id = :id AND cycle = :cycle AND reviewer = :reviewer AND taken_back_at IS NULL
    AND (NOT blind OR :blind)
RETURNING id
""")


def take_back(session: Session, case: Case, reviewer: str, *, now: datetime) -> bool:
    """Let somebody's opinion on a case, which is locked, count no longer; False where they have
    none.

    One that was given before all were shown stays: whoever has seen the others' would change it
    by them.
    """
    given = {"id": case.id, "cycle": case.cycle, "reviewer": reviewer, "now": now}
    given["blind"] = case.blind
    return session.execute(_TAKE_BACK, given).first() is not None


_REMEMBER = text("""
INSERT INTO decider (case_id, cycle, person, over_at)
SELECT id, cycle, verdict_by, :now FROM "case" WHERE id = ANY(:cases) AND verdict_by IS NOT NULL
UNION SELECT c.id, c.cycle, p.reviewer, :now
FROM "case" c JOIN opinion p ON p.case_id = c.id AND p.cycle = c.cycle
WHERE c.id = ANY(:cases) AND c.verdict_by IS NOT NULL AND p.taken_back_at IS NULL
ON CONFLICT DO NOTHING
""")


def remember_deciders(session: Session, cases: list[int], *, now: datetime) -> None:
    """Keep who decided these cases, which are about to be opened again."""
    session.execute(_REMEMBER, {"cases": cases, "now": now})


# --- what is shown ------------------------------------------------------------------------


class Panel(NamedTuple):
    """The reviewers of a case: how many are asked, who is still needed, and what may be shown."""

    asked: int
    given: int
    asks: Asks | None
    """Whom it waits for; nobody once it is decided."""
    able: list[str]
    """By name, who could do that; empty where nobody can, and a lead must help."""
    yours: Opinion | None
    shown: list[Opinion]
    """All, to whoever may see them: after the verdict, or to the lead who settles it."""
    settles: bool
    """Whether the actor settles what all reviewers differ on."""
    alone: bool
    """Whether the actor could decide without the others."""

    @property
    def needed(self) -> int:
        """How many more opinions it takes at least."""
        return max(self.asked - self.given, 1) if self.asks is Asks.REVIEWER else 0


def panel(session: Session, actor: Actor, case: Case) -> Panel | None:
    """The panel of a case, as far as the actor may know; None where one person reviews it."""
    if case.reviewers == 1:
        return None
    given = of(session, case)
    asks = standing(case, given).asks if case.verdict is None else None
    parts = impartial.parts_of(session, actor.email, case.id)
    waiting = case.state in OPEN_STATES and asks is not None
    may = waiting and impartial.may_settle(session, actor, case, parts)
    settles = may and asks is Asks.LEAD
    return Panel(
        asked=case.reviewers,
        given=sum(one.counts for one in given),
        asks=asks,
        able=_able(session, case, asks) if waiting else [],
        yours=next((one for one in given if one.reviewer == actor.email), None),
        shown=given if settles or case.verdict is not None else [],
        settles=settles,
        alone=may and asks is Asks.REVIEWER,
    )


def _able(session: Session, case: Case, asks: Asks | None) -> list[str]:
    return [
        one.reviewer.name
        for one in impartial.colleagues(session, case)
        if one.parts.judges and (asks is Asks.REVIEWER or one.reviewer.leads)
    ]


def as_answer(session: Session, actor: Actor, case: Case) -> dict[str, Json]:
    """What the API shows of a single case's opinions: those of others once it is decided."""
    found = panel(session, actor, case)
    if found is None:
        return {"opinions": [], "opinions_given": 0, "waits_for": None}
    shown = found.shown or ([found.yours] if found.yours is not None else [])
    return {
        "opinions": [_shown(one) for one in shown],
        "opinions_given": found.given,
        "waits_for": found.asks,
    }


def _shown(one: Opinion) -> dict[str, Json]:
    return {
        "reviewer": one.reviewer,
        "verdict": one.verdict,
        "value": one.value,
        "note": one.note,
    }


def require_alone(actor: Actor, case: Listed) -> None:
    """Refuse whoever may not decide a case without its other reviewers.

    Raises:
        NotAllowed: the actor is no lead.
        NothingToSettle: one person reviews it anyway.
    """
    actor.require(Verb.TAKE_OVER, "Leads and admins decide without the other reviewers.")
    if case.reviewers == 1:
        raise NothingToSettle("One person reviews this case anyway; give the verdict itself.")
