"""News become notifications: one row for each person who is told, in the consumer's transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.database import affected
from services.notifications import choices, deliveries, rules
from services.notifications.feed import UNDONE
from services.notifications.rules import CaseFacts, What
from services.people import ownership, reviewing
from services.people import queries as people_queries


class News(NamedTuple):
    """Something that happened, and everybody who might be told."""

    key: str
    what: What
    line: str
    at: datetime
    people: tuple[str, ...]
    as_team: bool = False
    actor: str | None = None
    """Who did it, and so need not be told."""
    case_id: int | None = None
    tool: str | None = None
    output_id: str | None = None
    priority: str | None = None
    """Of the case that it is about."""


def of_cases(session: Session, moved: Iterable[events.CaseMoved], *, now: datetime) -> list[News]:
    """What owners are told: people of their own cases, those on duty of a team's.

    Leads are told where reviewers differ, a team where another of it is asked, and whoever a
    comment mentions is.
    """
    told = [event for event in moved if event.type in rules.OF_CASES and _is_news(event)]
    owners = [event.data.owner for event in told]
    asked = {owner.id for owner in owners if owner.kind == "team"}
    teams = ownership.told_of(session, asked, now)
    reviewed = [event.data for event in told if rules.OF_CASES[event.type] is What.REVIEWED]
    judges = ownership.judges_of(session, {case.team for case in reviewed if case.team}, now)
    divided = [event.data for event in told if rules.OF_CASES[event.type] is What.DIVIDED]
    leads = reviewing.leads_of(session, {case.team for case in divided if case.team})
    groups = _Groups(teams, leads, judges)
    return [_of_case(event, groups) for event in told]


def _is_news(event: events.CaseMoved) -> bool:
    """Whether anybody is to be told: not of what another case answers for, whose owner is told
    once of all, nor of what was routed anew and stayed with them, nor of an opinion after which
    no other one is asked. Whom a comment mentions is told wherever it stands."""
    case, rerouted = event.data, event.data.rerouting
    if rules.OF_CASES[event.type] is What.MENTIONED:
        return True
    kept = rerouted is not None and rerouted.before.owner == rerouted.after.owner
    opinion = rules.OF_CASES[event.type] is What.REVIEWED
    asks = not opinion or case.waits_for == "reviewer"
    return case.state != "merged" and not kept and asks


class _Groups(NamedTuple):
    """The people of teams, by what they are told."""

    owning: Mapping[str, Sequence[str]]
    leads: Mapping[str, Sequence[str]]
    judges: Mapping[str, ownership.Judges]


def _of_case(event: events.CaseMoved, groups: _Groups) -> News:
    case, what = event.data, rules.OF_CASES[event.type]
    team = case.owner.id if case.owner.kind == "team" else None
    actor = case.actor.id if case.actor is not None else None
    facts = CaseFacts(
        case.case_id,
        case.tool,
        case.trigger,
        team,
        case.due_at,
        case.priority,
        cases=case.children if case.subject_kind == "incident" else None,
        who=actor,
    )
    people, as_team = _concerned(case, what, groups)
    return News(
        key=event.id,
        what=what,
        line=rules.line_of_case(what, facts),
        at=case.at,
        people=people,
        as_team=as_team,
        actor=actor,
        case_id=_number(case.case_id),
        tool=case.tool,
        output_id=case.output_id,
        priority=case.priority,
    )


def _concerned(case: events.CaseEvent, what: What, groups: _Groups) -> tuple[tuple[str, ...], bool]:
    """Who is told, and whether as people of a team."""
    if what is What.MENTIONED:
        return case.mentioned, False
    if what is What.DIVIDED:
        return tuple(groups.leads.get(case.team or "", ())), False
    if what is What.REVIEWED:
        return _asked(case, groups), True
    if case.owner.kind == "team":
        return tuple(groups.owning[case.owner.id]), True
    return (case.owner.id,), False


def _asked(case: events.CaseEvent, groups: _Groups) -> tuple[str, ...]:
    """Who could give the opinion that a case waits for."""
    judges, actor = groups.judges.get(case.team or ""), case.actor.id if case.actor else None
    if judges is None:
        return ()
    return tuple(judges.asked(apart=case.apart, actor=actor))


def _number(case_id: str) -> int | None:
    return int(case_id) if case_id.isascii() and case_id.isdecimal() and len(case_id) < 19 else None


_SPOKE = text("""
SELECT DISTINCT w.tool, w.output_id, w.actor
FROM json_to_recordset(CAST(:rows AS json)) AS g(tool text, output_id text)
JOIN word_on_output w ON w.tool = g.tool AND w.output_id = g.output_id
ORDER BY w.tool, w.output_id, w.actor
""")


def of_verdicts(
    session: Session, given: Sequence[events.VerdictRecorded | events.VerdictTakenBack]
) -> list[News]:
    """What those are told who disputed or corrected these outputs."""
    if not given:
        return []
    keys = {(event.data.tool, event.data.output_id) for event in given}
    rows = to_json([{"tool": tool, "output_id": output_id} for tool, output_id in sorted(keys)])
    spoke: dict[tuple[str, str], list[str]] = {}
    for row in session.execute(_SPOKE, {"rows": rows.decode()}):
        spoke.setdefault((row.tool, row.output_id), []).append(row.actor)
    told = [(event, spoke.get((event.data.tool, event.data.output_id))) for event in given]
    return [_of_verdict(event, people) for event, people in told if people]


def _of_verdict(
    event: events.VerdictRecorded | events.VerdictTakenBack, people: Sequence[str]
) -> News:
    data = event.data
    if isinstance(data, events.VerdictGiven):
        what = What.VERDICT
        line = rules.line_of_verdict(data.tool, data.output_id, data.verdict)
    else:
        what, line = What.VERDICT_UNDONE, rules.line_of_undone(data.tool, data.output_id)
    return News(
        key=event.id,
        what=what,
        line=line,
        at=data.at,
        people=tuple(people),
        actor=data.actor.id,
        tool=data.tool,
        output_id=data.output_id,
    )


_TELL = text("""
INSERT INTO notification
    (person, what, line, case_id, tool, output_id, dedupe_key, urgent, made_at, mail_at)
SELECT person, what, line, case_id, tool, output_id, dedupe_key, urgent, :now, mail_at
FROM json_to_recordset(CAST(:rows AS json)) AS g(position bigint, person text, what text,
    line text, case_id bigint, tool text, output_id text, dedupe_key text, urgent boolean,
    mail_at timestamptz)
ORDER BY position
ON CONFLICT (person, dedupe_key) DO NOTHING
""")


def tell(session: Session, news: Sequence[News], *, now: datetime) -> int:
    """Write news into the inboxes of whom they concern, once; answers how many were new.

    Whoever is not an active person here is not told, nor is who did it.
    """
    concerned = {person for one in news for person in one.people if person != one.actor}
    active = people_queries.names(session, concerned) if concerned else {}
    if not active:
        return 0
    wanted = choices.of_people(session, active)
    mailed = _mailed(session, news, now)
    rows = [
        _row(one, person, wanted[person], now, mailed.get(person))
        for one in news
        for person in one.people
        if person in active and person != one.actor
    ]
    for position, row in enumerate(rows):
        row["position"] = position
    return affected(session.execute(_TELL, {"rows": to_json(rows).decode(), "now": now}))


def _mailed(session: Session, news: Sequence[News], now: datetime) -> Mapping[str, datetime]:
    """When those were mailed last who are told of something urgent, where that was just now."""
    urgent = [one for one in news if rules.is_urgent(one.what, one.priority)]
    people = {person for one in urgent for person in one.people}
    return deliveries.mailed_since(session, people, now - rules.URGENT_PAUSE) if people else {}


def _row(
    one: News, person: str, choice: rules.Choice, now: datetime, mailed: datetime | None
) -> dict[str, Any]:
    at = rules.mail_at(
        choice,
        one.what,
        happened=one.at,
        now=now,
        as_team=one.as_team,
        priority=one.priority,
        mailed=mailed,
    )
    return {
        "person": person,
        "what": one.what.value,
        "line": one.line,
        "case_id": one.case_id,
        "tool": one.tool,
        "output_id": one.output_id,
        "dedupe_key": one.key,
        "urgent": rules.is_urgent(one.what, one.priority),
        "mail_at": at,
    }


_REMEMBER = text("""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(:rows AS json))
        AS g(tool text, event_id text, output_id text, actor text, said_at timestamptz)
), kept AS (
    INSERT INTO word_on_output (tool, event_id, output_id, actor, heard_at)
    SELECT tool, event_id, output_id, actor, :now FROM given
    ORDER BY tool, event_id ON CONFLICT DO NOTHING
)
SELECT g.actor AS person, h.event_id, h.tool, h.output_id, h.verdict, h.actor, h.at
FROM given g JOIN heard_verdict h ON h.tool = g.tool AND h.output_id = g.output_id
    AND h.at >= g.said_at
ORDER BY h.tool, h.place, g.actor
""")
_CONSENT = "confirmation"


def remember(
    session: Session, said: Iterable[events.CorrectionRecorded], *, now: datetime
) -> list[News]:
    """Keep who disputed or corrected which output; of each event no more than that.

    Answers what they are told of verdicts that were heard before, though given after.
    """
    rows = [
        {
            "tool": event.tool,
            "event_id": event.id,
            "output_id": event.data.output_id,
            "actor": event.data.actor.id,
            "said_at": event.data.occurred_at or event.time,
        }
        for event in said
        if event.data.kind != _CONSENT
    ]
    if not rows:
        return []
    found = session.execute(_REMEMBER, {"rows": to_json(rows).decode(), "now": now})
    return [_heard_before(row) for row in found]


def _heard_before(row: Any) -> News:
    undone = row.verdict == UNDONE
    said = (row.tool, row.output_id)
    return News(
        key=row.event_id,
        what=What.VERDICT_UNDONE if undone else What.VERDICT,
        line=rules.line_of_undone(*said) if undone else rules.line_of_verdict(*said, row.verdict),
        at=row.at,
        people=(row.person,),
        actor=row.actor,
        tool=row.tool,
        output_id=row.output_id,
    )


_FORGET = text("""
DELETE FROM word_on_output w
USING json_to_recordset(CAST(:rows AS json)) AS g(tool text, event_id text, actor text)
WHERE w.tool = g.tool AND w.event_id = g.event_id AND w.actor = g.actor AND NOT EXISTS (
    SELECT FROM heard_verdict h
    WHERE h.tool = w.tool AND h.output_id = w.output_id AND h.heard_at >= w.heard_at)
""")


def forget(session: Session, withdrawn: Iterable[events.CorrectionWithdrawn]) -> None:
    """Who took a word back hears nothing more of it, unless they have heard a verdict on it: then
    they hear what becomes of that one, too."""
    rows = [
        {
            "tool": event.tool,
            "event_id": event.data.correction_id,
            "actor": event.data.actor.id,
        }
        for event in withdrawn
    ]
    if rows:
        session.execute(_FORGET, {"rows": to_json(rows).decode()})
