"""What is said against outputs that have a case, and facts that come after the case did."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import handover, queries
from services.escalation.answering import Chain, wanted_again
from services.escalation.inserting import OUTPUT_COLUMNS, Request, as_said, output_columns
from services.escalation.pauses import wake_up
from services.escalation.reopening import Reopening, begin_again
from services.escalation.rules import OPEN_STATES, CaseState
from services.escalation.timeline import Entry, Happening, tell
from services.people.rules import SYSTEM
from services.tools.rules import Trigger


class _Key(NamedTuple):
    """What names an output."""

    tool: str
    output_id: str


class _Case(NamedTuple):
    """A case, locked; `kind` is None while its output has not come."""

    id: int
    state: str
    kind: str | None
    incident: int | None
    owner: str | None
    """The person who is accountable, where one is."""

    @property
    def is_part(self) -> bool:
        """Whether another one answers for it."""
        return self.state == CaseState.MERGED


class _Said(NamedTuple):
    """Who said something of a case, and what."""

    who: str
    note: str | None = None


# The cases before their objections, in the order in which everybody locks them.
_LOCK = text("""
SELECT o.tool, o.output_id, c.id, c.state, o.kind, c.incident, c.owner_person
FROM json_to_recordset(CAST(:rows AS json)) AS g(tool text, output_id text)
JOIN case_output o ON o.tool = g.tool AND o.output_id = g.output_id
JOIN "case" c ON c.id = o.case_id ORDER BY c.id FOR UPDATE OF c
""")


def _lock(session: Session, keys: Iterable[_Key]) -> dict[_Key, _Case]:
    """The cases on these outputs."""
    rows = [key._asdict() for key in dict.fromkeys(keys)]
    found = session.execute(_LOCK, {"rows": to_json(rows).decode()})
    return {_Key(tool, output_id): _Case(*case) for tool, output_id, *case in found}


_ON_OUTPUTS = text("""
SELECT unnest(ARRAY[c.id, c.incident])
FROM json_to_recordset(CAST(:rows AS json)) AS g(tool text, output_id text)
JOIN case_output o ON o.tool = g.tool AND o.output_id = g.output_id
JOIN "case" c ON c.id = o.case_id
""")


class Locked(NamedTuple):
    """What was found when the cases were locked that a batch speaks of."""

    wanted: list[Chain]
    """Who is wanted for those that may be opened again, and for those that may lose their owner."""
    own: list[int]
    """Those whose owner has said something against the output."""


def lock_cases(
    session: Session,
    requests: Sequence[Request],
    withdrawals: Sequence[events.ReviewWithdrawal],
    bars: Sequence[events.ReviewBar],
    *,
    beside: Sequence[int] = (),
) -> Locked:
    """Lock the cases that there are on these outputs, with what they are part of, and others
    `beside` them, as everybody locks cases before owners."""
    keys = [_Key(one.tool, one.output_id) for one in requests]
    keys += [_Key(one.tool, one.output_id) for one in withdrawals]
    keys += [_Key(one.tool, one.output_id) for one in bars]
    rows = {"rows": to_json([key._asdict() for key in dict.fromkeys(keys)]).decode()}
    on_outputs = {id_ for id_ in session.scalars(_ON_OUTPUTS, rows) if id_} if keys else set()
    if beside or on_outputs:
        queries.hold(session, {*beside, *on_outputs})
    found = _lock(session, keys) if on_outputs else {}
    asked = {_Key(one.tool, one.output_id) for one in requests}
    decided = [
        case.id for key, case in found.items() if key in asked and case.state not in OPEN_STATES
    ]
    cases = queries.cases(session, decided) if decided else []
    again = [wanted_again(case, level=0) for case in cases]
    own = sorted(_own(found, requests, bars))
    return Locked(again + handover.wanted_instead(session, own), own)


def _own(
    cases: Mapping[_Key, _Case], requests: Sequence[Request], bars: Sequence[events.ReviewBar]
) -> set[int]:
    """Of these cases those whose owner says something against the output."""
    said = {
        (_Key(one.tool, one.output_id), one.objection.correction.actor.id)
        for one in requests
        if one.objection is not None
    }
    said |= {(_Key(one.tool, one.output_id), one.actor.id) for one in bars}
    return {case.id for key, who in said if (case := cases.get(key)) and case.owner == who}


def add(session: Session, requests: Sequence[Request], *, now: datetime) -> None:
    """Reviews are requested of outputs that have a case.

    Facts that a case lacks are added; where the gate holds an output whose case was decided
    before it came, the case is opened again. An objection goes onto its case, once however often
    it comes; one that was resolved is opened again for somebody else, and one that is paused
    wakes.
    """
    if not requests:
        return
    cases = _lock(session, [_Key(one.tool, one.output_id) for one in requests])
    known = [(cases[_Key(one.tool, one.output_id)], one) for one in requests]
    arrived = {case.id: one for case, one in known[::-1] if case.kind is None and one.output}
    _add_facts(session, arrived, now=now)
    held = {case.id for case, one in known if case.id in arrived and _is_held_anew(case, one)}
    again = {case_id: _Said(SYSTEM) for case_id in sorted(held)}
    disputes = []
    for case, one in _object(session, known, now=now):
        word = one.correction
        said = _Said(word.actor.id, word.note)
        if case.state in (*OPEN_STATES, CaseState.MERGED) or case.id in again:
            disputes.append(Entry(case.id, Happening.DISPUTED, said.who, said.note))
        else:
            again[case.id] = said
    _begin_again(session, again, now=now)
    tell(session, disputes, now=now)
    news = {*arrived, *(entry.case_id for entry in disputes)}
    # What answers for a case that there is something new of is looked at again, too.
    news |= {case.incident or 0 for case, _ in known if case.id in news and case.is_part}
    wake_up(session, sorted(news), SYSTEM, now=now)


def _is_held_anew(case: _Case, request: Request) -> bool:
    """Whether the gate asks for a person, whose case was decided before its output came."""
    by_gate = request.objection is None and request.trigger != Trigger.UNMATCHED.value
    return by_gate and case.state not in OPEN_STATES


_ADD_FACTS = text(f"""
UPDATE case_output o SET {", ".join(f"{name} = g.{name}" for name in OUTPUT_COLUMNS)}
FROM json_to_recordset(CAST(:rows AS json)) AS g(
    case_id bigint, {", ".join(f"{name} {kind}" for name, kind in OUTPUT_COLUMNS.items())})
WHERE o.case_id = g.case_id
""")


def _add_facts(session: Session, arrived: Mapping[int, Request], *, now: datetime) -> None:
    """The outputs of these cases have come after all."""
    if not arrived:
        return
    rows = [{"case_id": id_, **output_columns(request)} for id_, request in arrived.items()]
    session.execute(_ADD_FACTS, {"rows": to_json(rows).decode()})
    tell(session, [Entry(case_id, Happening.OUTPUT_ARRIVED) for case_id in arrived], now=now)


def _begin_again(session: Session, again: Mapping[int, _Said], *, now: datetime) -> None:
    """Reopen these decided cases, in the order given, for what was said by somebody."""
    cases = {case.id: case for case in queries.cases(session, list(again))} if again else {}
    asked = [Reopening(cases[case_id], *said) for case_id, said in again.items()]
    begin_again(session, asked, now=now)


_GIVEN = """json_to_recordset(CAST(:rows AS json))
    AS g(case_id bigint, correction_id text, actor text, said jsonb)"""
_OBJECT = text(f"""
INSERT INTO objection (case_id, correction_id, actor, said, at)
SELECT case_id, correction_id, actor, said, :now FROM {_GIVEN}
ON CONFLICT DO NOTHING RETURNING case_id, correction_id
""")

_SHOW = text(f"""
UPDATE "case" c SET dispute = g.said, disputed_by = g.actor, version = version + 1
FROM {_GIVEN} WHERE c.id = g.case_id
""")


def _object(
    session: Session, known: Sequence[tuple[_Case, Request]], *, now: datetime
) -> list[tuple[_Case, events.Objection]]:
    """Put objections onto their cases; answers those that are new there, in the order given."""
    said: dict[tuple[int, str], tuple[_Case, events.Objection]] = {}
    for case, one in known:
        if one.objection is not None:
            said.setdefault((case.id, one.objection.correction_id), (case, one.objection))
    if not said:
        return []
    rows = {key: _row(*one) for key, one in said.items()}
    given = {"rows": to_json(list(rows.values())).decode(), "now": now}
    new = {(row.case_id, row.correction_id) for row in session.execute(_OBJECT, given)}
    last = {key[0]: row for key, row in rows.items() if key in new}
    session.execute(_SHOW, {"rows": to_json(list(last.values())).decode()})
    return [one for key, one in said.items() if key in new]


def _row(case: _Case, objection: events.Objection) -> dict[str, object]:
    return {
        "case_id": case.id,
        "correction_id": objection.correction_id,
        "actor": objection.correction.actor.id,
        "said": as_said(objection),
    }


_WITHDRAW = text(f"""
UPDATE objection o SET withdrawn_at = :now FROM {_GIVEN}
WHERE o.case_id = g.case_id AND o.correction_id = g.correction_id AND o.withdrawn_at IS NULL
RETURNING o.case_id, o.correction_id
""")

_SHOW_LAST = text("""
UPDATE "case" c SET dispute = last.said, disputed_by = last.actor, version = c.version + 1
FROM unnest(CAST(:ids AS bigint[])) AS g(id) LEFT JOIN LATERAL (
    SELECT said, actor FROM objection WHERE case_id = g.id AND withdrawn_at IS NULL
    ORDER BY at DESC, correction_id DESC LIMIT 1) last ON true
WHERE c.id = g.id
""")


def withdraw(
    session: Session, withdrawals: Sequence[events.ReviewWithdrawal], *, now: datetime
) -> None:
    """Objections are taken back: each case shows the last one that stands, or none.

    It stays open. Whoever owns it sees what happened, and decides.
    """
    if not withdrawals:
        return
    cases = _lock(session, [_Key(one.tool, one.output_id) for one in withdrawals])
    by = {
        (cases[key].id, one.correction_id): one.actor.id
        for one in withdrawals
        if (key := _Key(one.tool, one.output_id)) in cases
    }
    rows = [{"case_id": case_id, "correction_id": name} for case_id, name in by]
    given = {"rows": to_json(rows).decode(), "now": now}
    taken_back = {(row.case_id, row.correction_id) for row in session.execute(_WITHDRAW, given)}
    session.execute(_SHOW_LAST, {"ids": sorted({case_id for case_id, _ in taken_back})})
    entries = [
        Entry(case_id, Happening.DISPUTE_WITHDRAWN, who)
        for (case_id, name), who in by.items()
        if (case_id, name) in taken_back
    ]
    tell(session, entries, now=now)
