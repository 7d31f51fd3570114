"""Every move that the table of transitions does not name is refused, by database and verbs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.escalation import claims, service
from services.escalation.rules import TRANSITIONS, CaseState, CaseVerb, Owner, moves
from services.kit.database import Database
from services.kit.errors import SecondlookError
from services.tools.rules import VerdictKind
from tests.factories import (
    LEAD,
    LEASE,
    OWNER,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    one,
    output,
    rows,
)

_NO_CLAIM = "claimant = NULL, lease_expires_at = NULL"
_NO_VERDICT = "verdict = NULL, verdict_by = NULL, resolved_at = NULL, verdict_id = NULL"
_NO_PAUSE = "paused_since = NULL, wakes_at = NULL, pause_reason = NULL"
_NOT_MERGED = "incident = NULL, merged_at = NULL"
_CLAIM = f"claimant = '{OWNER}', lease_expires_at = now() + interval '1 hour'"
_VERDICT = f"verdict = 'upheld', verdict_by = '{OWNER}', resolved_at = now(), verdict_id = 'v'"
_PAUSE = "paused_since = now(), wakes_at = now() + interval '1 day', pause_reason = 'later'"
_MERGED = 'incident = (SELECT max(k.id) FROM "case" k WHERE k.id <> :case), merged_at = now()'
_REST = (_NO_CLAIM, _NO_VERDICT, _NO_PAUSE, _NOT_MERGED)
COLUMNS = dict.fromkeys(CaseState, ", ".join(_REST)) | {
    state: ", ".join([said, *(part for part in _REST if part != otherwise)])
    for state, said, otherwise in (
        (CaseState.CLAIMED, _CLAIM, _NO_CLAIM),
        (CaseState.WAITING, _PAUSE, _NO_PAUSE),
        (CaseState.SNOOZED, _PAUSE, _NO_PAUSE),
        (CaseState.MERGED, _MERGED, _NOT_MERGED),
        (CaseState.RESOLVED, _VERDICT, _NO_VERDICT),
        (CaseState.CLOSED, _VERDICT, _NO_VERDICT),
    )
}
"""What else a row says in each state, so that nothing but the move itself can be refused."""


def _write(database: Database, case: int, state: CaseState) -> None:
    with database.transaction() as session:
        statement = f'UPDATE "case" SET state = :state, {COLUMNS[state]} WHERE id = :case'
        session.execute(text(statement), {"state": state.value, "case": case})


def _put(database: Database, case: int, state: CaseState) -> None:
    """Place a case in a state, past the guard."""
    for switch, then in (("DISABLE", True), ("ENABLE", False)):
        with database.transaction() as session:
            session.execute(text(f'ALTER TABLE "case" {switch} TRIGGER legal_move'))
        if then:
            _write(database, case, state)


def _state(database: Database, case: int) -> str:
    return str(one(database, 'SELECT state FROM "case" WHERE id = :c', c=case))


@pytest.mark.parametrize("source", CaseState)
def test_database_lets_a_case_move_as_the_table_says_alone(
    source: CaseState, case: int, database: Database, subtests: pytest.Subtests
) -> None:
    for target in set(CaseState) - {source}:
        _put(database, case, source)
        with subtests.test(target=target):
            if (source, target) in moves():
                _write(database, case, target)
                assert _state(database, case) == target
            else:
                with pytest.raises(IntegrityError, match=f"not go from {source} to {target}"):
                    _write(database, case, target)
                assert _state(database, case) == source


def _token(casework: Casework, case: int) -> str:
    return str(one(casework.database, 'SELECT claim_seq FROM "case" WHERE id = :c', c=case))


@pytest.fixture
def case(log: Delivery, case: int) -> int:
    """A case that is open, with another one that it can be part of."""
    log.take(output("o-2", confidence=0.4))
    return case


def _pause() -> dict[str, Any]:
    until = datetime.now(UTC) + timedelta(hours=1)
    return {"until": until, "reason": "later", "limit": timedelta(days=1)}


def _as_people(verb: str, who: str, **given: Any) -> Callable[[Casework, int], Any]:
    return lambda casework, case: casework.do(verb, who, case, **given)


def _opine(casework: Casework, case: int) -> None:
    """One opinion of two."""
    with casework.database.transaction() as session:
        session.execute(text('UPDATE "case" SET reviewers = 2 WHERE id = :case'), {"case": case})
    try:
        casework.give_verdict(OWNER, case, token=_token(casework, case))
    finally:
        with casework.database.transaction() as session:
            session.execute(text('UPDATE "case" SET reviewers = 1'))


BY_PEOPLE: dict[CaseVerb, Callable[[Casework, int], Any]] = {
    CaseVerb.CLAIM: _as_people("claim", OWNER, lease=timedelta(minutes=1)),
    CaseVerb.RELEASE: lambda work, case: work.do("release", OWNER, case, token=_token(work, case)),
    CaseVerb.WAIT: lambda work, case: work.do(
        "wait", OWNER, case, token=_token(work, case), **_pause()
    ),
    CaseVerb.SNOOZE: lambda work, case: work.do(
        "snooze", OWNER, case, token=_token(work, case), **_pause()
    ),
    CaseVerb.WAKE: _as_people("wake", OWNER),
    CaseVerb.OPINE: _opine,
    CaseVerb.RESOLVE: lambda work, case: work.give_verdict(OWNER, case, token=_token(work, case)),
    CaseVerb.MERGE: _as_people("merge", LEAD, into=2),
    CaseVerb.UNMERGE: _as_people("unmerge", LEAD),
    CaseVerb.UNDO: lambda work, case: work.undo(LEAD, case),
    CaseVerb.REOPEN: _as_people("reopen", LEAD, note="look again"),
    CaseVerb.REASSIGN: _as_people("reassign", LEAD, owner=Owner("person", TEAMMATE), note="n"),
}


def _elsewhere(verb: CaseVerb) -> list[CaseState]:
    """The states from which a verb does not lead."""
    return [state for state in CaseState if state not in TRANSITIONS[verb].sources]


@pytest.mark.parametrize("verb", BY_PEOPLE)
def test_verb_is_refused_where_it_does_not_lead_from(
    verb: CaseVerb, case: int, casework: Casework, database: Database, subtests: pytest.Subtests
) -> None:
    for state in _elsewhere(verb):
        _put(database, case, state)
        before = rows(database, _SAID)
        with subtests.test(state=state):
            with pytest.raises(SecondlookError) as refused:
                BY_PEOPLE[verb](casework, case)
            assert refused.value.status == 409
            assert _state(database, case) == state
            assert rows(database, _SAID) == before


_SAID = """SELECT version, (SELECT count(*) FROM timeline_entry) FROM "case" ORDER BY id"""


@pytest.mark.parametrize("verb", [CaseVerb.EXPIRE, CaseVerb.DROP, CaseVerb.CLOSE])
def test_what_time_does_passes_over_other_states(
    verb: CaseVerb, case: int, casework: Casework, database: Database
) -> None:
    for state in _elsewhere(verb):
        _put(database, case, state)
        with database.transaction() as session:
            now = casework.clock.now(session) + timedelta(days=400)
            if verb is CaseVerb.EXPIRE:
                claims.expire_leases(session, now=now)
            elif verb is CaseVerb.DROP:
                claims.drop_claims(session, OWNER, [case], by="deactivation", now=now)
            else:
                service.close_resolved(session, now=now, before=now)
        assert _state(database, case) == state


def test_what_is_no_part_is_not_decided_with_others(
    case: int, casework: Casework, database: Database, subtests: pytest.Subtests
) -> None:
    said = service.Judgement(VerdictKind.UPHELD)
    for state in _elsewhere(CaseVerb.RESOLVE_PART):
        _put(database, case, state)
        with subtests.test(state=state):
            with database.transaction() as session:
                now, actor = casework.clock.now(session), actor_of(session, OWNER)
                found = service.decide(session, actor, [case], said, lease=LEASE, now=now)
            assert (found.done, list(found.skipped)) == ([], [case])
            assert _state(database, case) == state


def test_a_part_without_a_verdict_has_none_to_take_back(
    case: int, casework: Casework, database: Database, subtests: pytest.Subtests
) -> None:
    for state in _elsewhere(CaseVerb.UNDO_PART):
        _put(database, case, CaseState.MERGED)
        if state != CaseState.MERGED:
            _put(database, case, state)
        with subtests.test(state=state):
            with pytest.raises(SecondlookError) as refused:
                casework.undo(LEAD, case)
            assert refused.value.status == 409
            assert _state(database, case) == state


_OF_PARTS = {CaseVerb.RESOLVE_PART, CaseVerb.UNDO_PART}


def test_every_verb_is_tried() -> None:
    by_time = {CaseVerb.EXPIRE, CaseVerb.DROP, CaseVerb.CLOSE}
    assert {*BY_PEOPLE, *by_time, *_OF_PARTS} == set(CaseVerb)
