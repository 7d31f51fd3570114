"""Cases of the same cause become one incident, with one owner and one deadline, as they open.

So many of them within a window (`policy.grouping`) form it; what comes later joins it, and
nobody is told of it once more. All of it is part of the transaction that opens the cases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import merging, pauses
from services.escalation.inserting import insert, opened_by, owned_otherwise
from services.escalation.models import OPEN
from services.escalation.routing import Choice, Routed
from services.escalation.rules import CaseState, SubjectKind
from services.escalation.timeline import Entry, Happening
from services.kit.locks import Lock, lock_each
from services.people.rules import SYSTEM


class OfCause(NamedTuple):
    """An open case that has a cause, locked: an incident, or one that may become part of it."""

    id: int
    cause: str
    kind: str
    state: str
    team: str
    wakes_after: int | None


_MOST_SNOOZED = 1_000
"""So many cases of a cause that were put off until more of it come are counted down at once."""
_ALIKE = f"""c.cause = asked.cause AND c.subject_kind <> 'incident' AND c.{OPEN}"""
# One look into the index for each team that has such cases.
_TEAMS = f"""
    WITH RECURSIVE of_team(team) AS (
        SELECT min(c.team) FROM "case" c WHERE {_ALIKE}
        UNION ALL
        SELECT (SELECT min(c.team) FROM "case" c WHERE {_ALIKE} AND c.team > of_team.team)
        FROM of_team WHERE of_team.team IS NOT NULL)
    SELECT team FROM of_team WHERE team IS NOT NULL
"""
# Of cases that are part of nothing yet, nor have parts of their own, so many as an incident is
# formed of at most; of each team, as whose it will be is not known yet, and others' do not count.
CONCERNED = text(f"""
SELECT found.id FROM (
    SELECT cause, max(since) AS since, max(most) AS most
    FROM json_to_recordset(CAST(:causes AS json))
        AS g(cause text, since timestamptz, most bigint) GROUP BY cause) asked
CROSS JOIN LATERAL (
    (SELECT id FROM "case" WHERE cause = asked.cause AND subject_kind = 'incident' AND {OPEN})
    UNION ALL
    (SELECT near.id FROM ({_TEAMS}) t CROSS JOIN LATERAL (
        SELECT c.id FROM "case" c WHERE {_ALIKE} AND c.team = t.team AND c.state <> 'snoozed'
            AND c.incident IS NULL AND c.children = 0 AND c.opened_at > asked.since
        ORDER BY c.opened_at DESC LIMIT asked.most) near)
    UNION ALL
    (SELECT id FROM "case" WHERE cause = asked.cause AND subject_kind <> 'incident' AND {OPEN}
        AND wakes_after IS NOT NULL ORDER BY opened_at DESC LIMIT :snoozed)) found
""")


def hold(session: Session, choices: Sequence[Choice], *, now: datetime) -> list[int]:
    """Nobody else opens cases of these causes until the transaction ends.

    Call it before any case is locked. Answers the open cases that they may become one with; these
    are to be locked with all others that the transaction works on.
    """
    asked = [
        {
            "cause": one.cause,
            "since": now - timedelta(seconds=one.route.group.window.amount),
            "most": one.route.group.incident_at,
        }
        for one in choices
        if one.cause is not None and one.route.group is not None
    ]
    if not asked:
        return []
    lock_each(session, Lock.OPEN_BY_CAUSE, {str(one["cause"]) for one in asked})
    given = {"causes": to_json(asked).decode(), "snoozed": _MOST_SNOOZED}
    return list(session.scalars(CONCERNED, given))


_OF_CAUSE = text(f"""
SELECT id, cause, subject_kind, state, team, wakes_after FROM "case"
WHERE id = ANY(:ids) AND {OPEN} AND (wakes_after IS NOT NULL
    OR (incident IS NULL AND (children = 0 OR subject_kind = 'incident'))) ORDER BY id
""")


@dataclass(slots=True)
class _Cause:
    """What there is of one cause: the cases that open just now, those before them, the incident."""

    routed: Routed
    """Of the last one that opened."""
    opened: dict[int, str] = field(default_factory=dict)
    """Each with the team that it is of."""
    before: list[OfCause] = field(default_factory=list)
    incident: OfCause | None = None

    @property
    def forms(self) -> bool:
        """Whether there are enough for an incident now."""
        group = self.routed.route.group
        alike = [one.team for one in self.before if one.wakes_after is None]
        of_team = [*self.opened.values(), *alike].count(self.routed.team)
        return group is not None and of_team >= group.incident_at

    @property
    def parts(self) -> list[int]:
        """What becomes part of it: what somebody works on, or has put off, stays as it is, and so
        does what is another team's, as the rule may have been, before."""
        team = self.incident.team if self.incident else self.routed.team
        free = {one.id: one.team for one in self.before if one.state == CaseState.OPEN}
        return [id_ for id_, of_team in {**self.opened, **free}.items() if of_team == team]


def group(
    session: Session, opened: Mapping[int, Routed], alike: Sequence[int], *, now: datetime
) -> list[Entry]:
    """Make cases that have just been opened part of their incidents, which are opened where there
    are enough for one; answers what is to be written of it.

    `alike` is what `hold` answered, locked since.
    """
    causes = _by_cause(session, opened, alike)
    if not causes:
        return []
    forming = {name: one for name, one in causes.items() if one.incident is None and one.forms}
    entries = _form(session, forming, now=now)
    parts = {one.incident.id: one.parts for one in causes.values() if one.incident is not None}
    _wake_snoozed(session, causes, now=now)
    return [*entries, *merging.join(session, parts, who=SYSTEM, now=now)]


def _by_cause(
    session: Session, opened: Mapping[int, Routed], alike: Sequence[int]
) -> dict[str, _Cause]:
    found: dict[str, _Cause] = {}
    for case_id, one in opened.items():
        if one.cause is not None:
            of_cause = found.setdefault(one.cause, _Cause(one))
            of_cause.routed = one
            of_cause.opened[case_id] = one.team
    for row in session.execute(_OF_CAUSE, {"ids": list(alike)}) if found and alike else ():
        case, name = OfCause(*row), row.cause
        if name in found and case.kind == SubjectKind.INCIDENT:
            found[name].incident = case
        elif name in found:
            found[name].before.append(case)
    return found


def _form(session: Session, forming: Mapping[str, _Cause], *, now: datetime) -> list[Entry]:
    """Open the incidents that there are enough cases of."""
    if not forming:
        return []
    keys = {_subject_key(one, name): name for name, one in forming.items()}
    routed = {key: forming[name].routed for key, name in keys.items()}
    ids = insert(session, routed, SubjectKind.INCIDENT, now=now)
    entries = []
    for key, case_id in ids.items():
        one = forming[keys[key]]
        team = one.routed.team
        one.incident = OfCause(case_id, keys[key], SubjectKind.INCIDENT, CaseState.OPEN, team, None)
        entries.append(Entry(case_id, Happening.OPENED, detail=opened_by(one.routed)))
        entries += owned_otherwise(case_id, one.routed)
    return entries


def _subject_key(of_cause: _Cause, name: str) -> str:
    """What names an incident: its cause, and the case that made it one, as it may come again."""
    digest = sha256(name.encode()).hexdigest()[:16]
    return f"{of_cause.routed.request.tool}/{digest}/{max(of_cause.opened)}"


_COUNT_DOWN = text("""
UPDATE "case" SET wakes_after = wakes_after - g.more FROM json_to_recordset(CAST(:rows AS json))
    AS g(id bigint, more bigint)
WHERE "case".id = g.id
""")


def _wake_snoozed(session: Session, causes: Mapping[str, _Cause], *, now: datetime) -> None:
    """Wake what was put off until so many more of the same cause had come."""
    woken, counted = [], []
    for one in causes.values():
        more = len(one.opened)
        for case in [*one.before, *([one.incident] if one.incident else [])]:
            if case.wakes_after is not None and case.wakes_after <= more:
                woken.append(case.id)
            elif case.wakes_after is not None:
                counted.append({"id": case.id, "more": more})
    pauses.wake_up(session, sorted(woken), SYSTEM, note="More of the same cause came.", now=now)
    if counted:
        session.execute(_COUNT_DOWN, {"rows": to_json(counted).decode()})
