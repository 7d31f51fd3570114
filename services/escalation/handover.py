"""Handing over what is owned by somebody who is away, or no longer on duty.

What a schedule owns goes to whoever has its duty now, claimed or not: its claimant works on. In a
hole it goes on along the ladder, and does not come back. What somebody owns themselves who is
away goes to their stand-in, else to the case's team, unless somebody has claimed it. Whoever has
a part in a case is passed over, and gives it up once they have.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import answering, impartial
from services.escalation.answering import Chain, Found
from services.escalation.models import OPEN
from services.escalation.owners import ROW, owned_by
from services.escalation.rules import CaseState, LadderRung, Owner, Wanted
from services.escalation.timeline import Entry, Happening, instead, tell
from services.people import holding, schedule_queries
from services.people.duties import PresenceChange


class _Held(NamedTuple):
    """An open case, locked."""

    id: int
    team: str
    state: str
    level: int
    ladder: list[LadderRung]
    owner_person: str | None
    owner_schedule: str | None

    @property
    def chain(self) -> Chain:
        """Who is wanted, where its owner is not there."""
        ladder = answering.of_ladder(self.ladder[self.level :])
        team = Wanted("team", self.team)
        if self.owner_schedule is not None:
            wanted = (Wanted("schedule", self.owner_schedule), *ladder, team)
        else:
            wanted = (Wanted("person", self.owner_person or ""), team, *ladder)
        return Chain(wanted, self.owner_person)


_DUTIES = "json_to_recordset(CAST(:duties AS json)) AS g(schedule text, person text)"
_OF_DUTY = f"""
SELECT c.id FROM "case" c
WHERE c.owner_schedule = g.schedule AND c.{OPEN} AND {{whose}} LIMIT :limit
"""
# Two walks along the index, past what whoever is on duty owns.
_OFF_DUTY = text(f"""
SELECT c.id FROM {_DUTIES} CROSS JOIN LATERAL (
    ({_OF_DUTY.format(whose="(g.person IS NULL OR c.owner_person < g.person)")})
    UNION ALL ({_OF_DUTY.format(whose="c.owner_person > g.person")})) c
LIMIT :limit
""")
_AWAY = text(f"""
SELECT c.id FROM "case" c
WHERE c.owner_person = ANY(:away) AND c.owner_schedule IS NULL AND c.state = 'open' AND c.{OPEN}
LIMIT :limit
""")


def pass_on(session: Session, *, now: datetime, limit: int = 100) -> int:
    """Pass on up to `limit` cases whose owner is away or off duty by the clock; answers how many.

    Call it again, in a new transaction, while it answers `limit`.
    """
    duties = _duties(session, now)
    rows = [{"schedule": slug, "person": person} for slug, person in duties.items()]
    given = {"duties": to_json(rows).decode(), "limit": limit}
    found = set(session.scalars(_OFF_DUTY, given)) if rows else set()
    away = {absence.person for absence in schedule_queries.away(session, now)}
    if away:
        found |= set(session.scalars(_AWAY, {"away": sorted(away), "limit": limit}))
    cases = _lock(session, sorted(found)[:limit], wait=False)
    return _move(session, _misplaced(cases, duties, away), now=now)


def _duties(session: Session, now: datetime) -> dict[str, str | None]:
    """Who has the duty of every schedule."""
    roster = schedule_queries.roster(session, None, now, now)
    return {slug: roster.on_duty(slug, now) for slug in roster.schedules}


_LOCK = f"""
SELECT id, team, state, level, ladder, owner_person, owner_schedule FROM "case"
WHERE id = ANY(:cases) AND {OPEN} ORDER BY id FOR UPDATE
"""
_LOCK_ALL, _LOCK_FREE = text(_LOCK), text(f"{_LOCK} SKIP LOCKED")


def _lock(session: Session, cases: Sequence[int], *, wait: bool) -> list[_Held]:
    """Those of these cases that are open; where it does not wait, those that nobody else has."""
    if not cases:
        return []
    statement = _LOCK_ALL if wait else _LOCK_FREE
    return [_Held(*row) for row in session.execute(statement, {"cases": list(cases)})]


def _misplaced(
    cases: Iterable[_Held], duties: Mapping[str, str | None], away: Iterable[str]
) -> list[_Held]:
    """Those of these cases whose owner is not the one who is to answer."""
    absent = set(away)

    def is_misplaced(case: _Held) -> bool:
        if case.owner_schedule is not None:
            return duties.get(case.owner_schedule) != case.owner_person
        return case.state == CaseState.OPEN and case.owner_person in absent

    return [case for case in cases if is_misplaced(case)]


_MOVE = text(f"""
UPDATE "case" c SET {owned_by("g.", "c")}, version = c.version + 1
FROM json_to_recordset(CAST(:rows AS json)) AS g(id bigint, {ROW})
WHERE c.id = g.id AND c.{OPEN}
""")


def _move(session: Session, cases: Sequence[_Held], *, now: datetime) -> int:
    """Give these cases, locked, to whoever is to answer; claims and clocks go on as they are."""
    if not cases:
        return 0
    apart = impartial.apart(session, [case.id for case in cases], opinions=True)
    chains = [case.chain._replace(barred=apart[case.id]) for case in cases]
    found = answering.first_able(session, chains, now=now)
    pairs = list(zip(cases, found, strict=True))
    give(session, {case.id: one for case, one in pairs}, now=now)
    tell(session, [_entry(case, one) for case, one in pairs if not _keeps(case, one)], now=now)
    return len(cases)


def give(session: Session, found: Mapping[int, Found], *, now: datetime) -> None:
    """Make these the owners of cases, locked; claims, pauses and clocks go on as they are."""
    rows = [{"id": id_, **one.columns} for id_, one in found.items()]
    session.execute(_MOVE, {"rows": to_json(rows).decode(), "now": now})


def _keeps(case: _Held, found: Found) -> bool:
    """Whether the owner is the one of before, though not through the schedule."""
    return found.owner == Owner("person", case.owner_person or "")


def _entry(case: _Held, found: Found) -> Entry:
    if found.why is None:
        return answering.on_duty_now(case.id, found)
    note = instead(case.chain.wanted[0], found.owner, found.why)
    detail = {"owner": found.owner.as_answer()}
    return Entry(case.id, Happening.REASSIGNED, note=note, detail=detail)


# --- owners who come to have a part ---------------------------------------------------------


def wanted_instead(session: Session, cases: Sequence[int]) -> list[Chain]:
    """Who is wanted of these cases, locked, where their owners have a part in them."""
    return [case.chain for case in _lock(session, cases, wait=True)]


def pass_over(session: Session, cases: Sequence[int], *, now: datetime) -> None:
    """Give those of these cases, locked, whose owner objects or corrected the output themselves, or
    decided what is appealed, to whoever is wanted next: an owner must be able to decide."""
    held = _lock(session, cases, wait=True)
    apart = impartial.apart(session, [case.id for case in held]) if held else {}
    _move(session, [case for case in held if case.owner_person in apart[case.id]], now=now)


# --- teams that nobody is left in -----------------------------------------------------------


def after_leaving(
    session: Session, cases: Sequence[int], *, gone: str, emptied: Collection[str], now: datetime
) -> dict[int, Found]:
    """Who is accountable of cases, locked, once nobody may review in these teams, and somebody is
    `gone`, if any is: the next of their ladders, else an admin, a lead or whoever may review."""
    held = _lock(session, cases, wait=True)
    if not held:
        return {}
    people = {gone} if gone else set[str]()
    holding.hold_everybody(session, people)
    apart = impartial.apart(session, [case.id for case in held], opinions=True)
    chains = [
        Chain(
            (
                Wanted("person", gone),
                *(
                    one
                    for one in answering.of_ladder(case.ladder[case.level :])
                    if one.kind != "team" or one.id not in emptied
                ),
            ),
            gone or None,
            apart[case.id] | people,
        )
        for case in held
    ]
    found = answering.first_able(session, chains, now=now)
    return {case.id: one for case, one in zip(held, found, strict=True)}


# --- around a change of who is there --------------------------------------------------------

_OF_THESE = text(f"""
SELECT id FROM "case" WHERE {OPEN}
    AND (owner_schedule = ANY(:schedules) OR owner_person = ANY(:people))
ORDER BY id FOR UPDATE
""")


@contextmanager
def around(session: Session, change: PresenceChange) -> Iterator[int]:
    """Around a change of who is there: hand over after it what these people or schedules own.

    Their cases, and all who may come to own one, are locked before it, in the order that everybody
    keeps to. What somebody opens or moves in that very moment is handed over by the clock.
    """
    given = {"schedules": _concerned(session, change), "people": sorted(change.people)}
    held = list(session.scalars(_OF_THESE, given))
    if held:
        holding.hold_everybody(session, change.people)
    yield 0
    if held:
        away = {one.person for one in schedule_queries.away(session, change.now)}
        cases = _lock(session, held, wait=True)
        _move(
            session,
            _misplaced(cases, _duties(session, change.now), away & change.people),
            now=change.now,
        )


def _concerned(session: Session, change: PresenceChange) -> list[str]:
    """The schedules that are said anew, and those that these people have a part in."""
    found = set(change.schedules)
    if change.people:
        roster = schedule_queries.roster(session, None, change.now, change.now)
        found |= {
            slug
            for slug, one in roster.schedules.items()
            if change.people & roster.presence.involved(one.rotation.people)
        }
    return sorted(found)
