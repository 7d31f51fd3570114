"""Who may not judge a case: whoever has a part in it already."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation.cases import Case, Listed
from services.escalation.errors import AlreadyReviewed, LeadNeeded, OwnDispute, OwnVerdict
from services.kit.errors import NotAllowed
from services.people import reviewing
from services.people.reviewing import Reviewer
from services.people.rules import Actor, Role, Verb

OBJECTS = """EXISTS (SELECT FROM objection o
    WHERE o.case_id = c.id AND o.actor = {who} AND o.withdrawn_at IS NULL)"""
CORRECTED = """EXISTS (SELECT FROM own_correction w JOIN case_output f
    ON f.tool = w.tool AND f.output_id = w.output_id
    WHERE f.case_id = c.id AND w.actor = {who} AND w.withdrawn_at IS NULL)"""
# An objection to a verdict is an appeal, whatever its sender called it.
_APPEALED = """EXISTS (SELECT FROM objection a WHERE a.case_id = d.case_id
    AND a.withdrawn_at IS NULL AND (a.at >= d.over_at OR a.said->>'kind' = 'appeal'))"""
DECIDED = f"""EXISTS (SELECT FROM decider d
    WHERE d.case_id = c.id AND d.person = {{who}} AND {_APPEALED})"""
REVIEWED = """EXISTS (SELECT FROM opinion p WHERE p.case_id = c.id AND p.cycle = c.cycle
    AND p.reviewer = {who} AND p.taken_back_at IS NULL)"""
"""Of a case `c`: that somebody objects to its output, that they corrected it, that they decided
what is appealed, and that they gave an opinion on it."""
EVERY_PART = (OBJECTS, CORRECTED, DECIDED, REVIEWED)
_BARRED_SEAT = " OR ".join(part.format(who="s.email") for part in (OBJECTS, CORRECTED, DECIDED))
NOBODY_ELSE = f"""NOT EXISTS (
    SELECT FROM json_to_recordset(CAST(:seats AS json)) AS s(team text, email text, leads boolean)
    WHERE (s.team IS NULL OR s.team = c.team) AND NOT ({_BARRED_SEAT})
        AND (s.leads OR NOT (c.divided OR {REVIEWED.format(who="s.email")})))"""
"""That nobody is left who could give an opinion on a case, or settle it: no admin either, so that
each of them has a part in it."""
_PARTS = ", ".join(EVERY_PART)


class Parts(NamedTuple):
    """What part somebody has in a case."""

    objects: bool
    corrected: bool
    decided: bool
    reviewed: bool

    @property
    def judges(self) -> bool:
        """Whether they could give an opinion, for all that they have to do with it."""
        return not any(self)

    @property
    def own(self) -> str | None:
        """Why they may not judge it in any role, in words; None where they may."""
        if self.objects:
            return "You disputed this output; somebody else reviews it."
        if self.corrected:
            return "You corrected this output yourself; somebody else reviews it."
        return None


_PARTS_OF_ONE = text(f'SELECT {_PARTS.format(who=":who")} FROM "case" c WHERE c.id = :id')


def parts_of(session: Session, email: str, case_id: int) -> Parts:
    """What part a person has in a case."""
    row = session.execute(_PARTS_OF_ONE, {"id": case_id, "who": email}).one()
    return Parts(*row)


_PARTS_OF_MANY = text(
    f'SELECT c.id, {_PARTS.format(who=":who")} FROM "case" c WHERE c.id = ANY(:ids)'
)


def own_of(session: Session, email: str, cases: Sequence[int]) -> dict[int, str]:
    """Which of these cases a person may not judge in any role, and why, in words."""
    given = {"ids": list(cases), "who": email}
    found = {id_: _barred(Parts(*row)) for id_, *row in session.execute(_PARTS_OF_MANY, given)}
    return {id_: barred.detail for id_, barred in found.items() if barred is not None}


_PARTS_OF_ALL = text(f"""
SELECT g.who, {_PARTS.format(who="g.who")}
FROM "case" c CROSS JOIN unnest(CAST(:people AS text[])) AS g(who) WHERE c.id = :id
""")


_APART = text(f"""
SELECT case_id, actor AS who, false AS opined FROM objection
WHERE case_id = ANY(:ids) AND withdrawn_at IS NULL
UNION SELECT f.case_id, w.actor, false FROM case_output f
JOIN own_correction w ON w.tool = f.tool AND w.output_id = f.output_id
WHERE f.case_id = ANY(:ids) AND w.withdrawn_at IS NULL
UNION SELECT d.case_id, d.person, false FROM decider d
WHERE d.case_id = ANY(:ids) AND {_APPEALED}
UNION SELECT p.case_id, p.reviewer, true FROM opinion p
JOIN "case" c ON c.id = p.case_id AND c.cycle = p.cycle
WHERE p.case_id = ANY(:ids) AND p.taken_back_at IS NULL
""")


def apart(
    session: Session, cases: Sequence[int], *, opinions: bool = False
) -> dict[int, frozenset[str]]:
    """Who may not judge each of these cases: whoever disputes or corrected the output, or decided
    what is appealed; with `opinions` whoever gave one, too."""
    found: dict[int, set[str]] = {id_: set() for id_ in cases}
    for row in session.execute(_APART, {"ids": list(cases)}):
        if opinions or not row.opined:
            found[row.case_id].add(row.who)
    return {id_: frozenset(people) for id_, people in found.items()}


class Colleague(NamedTuple):
    """Somebody who may review a case's team's cases, and the part that they have in this one."""

    reviewer: Reviewer
    parts: Parts


def colleagues(session: Session, case: Case) -> list[Colleague]:
    """Everybody who may review cases of the case's team."""
    found = {one.email: one for one in reviewing.reviewers_of(session, case.team)}
    given = {"id": case.id, "people": list(found)}
    parts = {who: Parts(*rest) for who, *rest in session.execute(_PARTS_OF_ALL, given)}
    return [Colleague(one, parts[email]) for email, one in found.items()]


def may_settle(session: Session, actor: Actor, case: Case, parts: Parts) -> bool:
    """Whether a lead decides what reviewers leave open: none of these, where there is another."""
    if not actor.may(Verb.TAKE_OVER) or parts.own or parts.decided:
        return False
    return not parts.reviewed or not any(
        one.reviewer.leads and one.parts.judges for one in colleagues(session, case)
    )


def left_alone(session: Session, actor: Actor, case: Case) -> bool:
    """Whether an admin judges a case though they have a part in it, as nobody without one is
    left."""
    if actor.role is not Role.ADMIN or _barred(parts_of(session, actor.email, case.id)) is None:
        return False
    return bool(left_alone_with(session, actor, [case.id]))


_LEFT_ALONE_WITH = text(f'SELECT c.id FROM "case" c WHERE c.id = ANY(:ids) AND {NOBODY_ELSE}')


def left_alone_with(session: Session, actor: Actor, barred: Collection[int]) -> frozenset[int]:
    """Which of these cases, that somebody is barred from, they judge all the same, as an admin
    whom nobody without a part is left beside."""
    if actor.role is not Role.ADMIN or not barred:
        return frozenset()
    given = {"ids": list(barred), "seats": seats(session)}
    return frozenset(session.scalars(_LEFT_ALONE_WITH, given))


def seats(session: Session) -> str:
    """Who may review whose cases, as `NOBODY_ELSE` asks for it."""
    return to_json([seat._asdict() for seat in reviewing.seats(session)]).decode()


def refusal(session: Session, actor: Actor, case: Case) -> NotAllowed | None:
    """Why somebody may not judge a case, or None where they may."""
    parts = parts_of(session, actor.email, case.id)
    if (barred := _barred(parts)) is not None:
        return None if left_alone(session, actor, case) else barred
    if (not case.divided and not parts.reviewed) or may_settle(session, actor, case, parts):
        return None
    if parts.reviewed:
        return AlreadyReviewed("You gave your opinion on this case; somebody else is asked now.")
    return LeadNeeded("Its reviewers all differ; a lead settles this case.")


def _barred(parts: Parts) -> NotAllowed | None:
    """Why a part in a case keeps somebody from judging it, in whatever role."""
    if parts.own:
        return OwnDispute(parts.own)
    if parts.decided:
        return OwnVerdict("Your verdict on this output is appealed; somebody else decides.")
    return None


def require_none(session: Session, actor: Actor, case: Listed) -> None:
    """Refuse to let somebody undo, or open again, what others decided of their own affair.

    Raises:
        OwnDispute: the actor disputed or corrected the output.
        OwnVerdict: the actor decided what was appealed.
    """
    barred = _barred(parts_of(session, actor.email, case.id))
    if barred is not None:
        raise barred


def require(session: Session, actor: Actor, case: Case) -> None:
    """Refuse whoever may not judge a case.

    Raises:
        OwnDispute: the actor disputed or corrected its output.
        OwnVerdict: the actor decided what is appealed.
        AlreadyReviewed: the actor gave an opinion on it.
        LeadNeeded: its reviewers differ, and the actor is no lead.
    """
    refused = refusal(session, actor, case)
    if refused is not None:
        raise refused
