"""Verdicts: who may give them, what they may hold, and what opens a case again."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from secondlook import events

from services.escalation import queries, service
from services.escalation.errors import OwnDispute
from services.escalation.policy.read import read as read_policy
from services.escalation.reopening import Reopening, begin_again
from services.kit.database import Database
from services.kit.durations import Duration, Unit
from services.kit.errors import InvalidInput, NotAllowed, NotFound
from services.kit.working_time import after, weekdays
from services.tools.rules import OutputKind, VerdictKind
from tests.factories import (
    AUDITOR,
    OUTSIDER,
    OWNER,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    correction,
    one,
    output,
    populate,
    rows,
    total,
)
from tests.factories.cases import LEASE


@pytest.mark.parametrize(("who", "refusal"), [(OUTSIDER, NotFound), (AUDITOR, NotAllowed)])
def test_verdict_is_refused_of_whom_may_not_give_it_however_they_came_by_the_case(
    who: str, refusal: type[Exception], log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        case, now = queries.case(session, 1), casework.clock.now(session)
        given = {"token": None, "lease": LEASE, "verdict": VerdictKind.UPHELD, "now": now}
        with pytest.raises(refusal):
            service.give_verdict(session, actor_of(session, who), case, **given)
    assert one(database, 'SELECT state FROM "case"') == "open"


def test_review_sends_the_verdict_back_to_feedback(
    case: int, casework: Casework, log: Delivery, database: Database
) -> None:
    casework.give_verdict(OWNER, case, "corrected", value="refund", note="it says refund")
    log.relay()
    assert rows(database, "SELECT decided_value, decided_by, overridden FROM output") == [
        ("refund", "verdict", True)
    ]
    assert total(database, "verdicts", "corrected") == 1
    assert one(database, "SELECT count(*) FROM timer WHERE stopped_at IS NULL") == 0


@pytest.mark.parametrize(
    ("verdict", "value", "field"),
    [
        ("corrected", None, "/value"),
        ("corrected", "nonsense", "/value"),
        ("corrected", True, "/value"),
        ("corrected", "billing", "/value"),
        ("upheld", "refund", "/value"),
    ],
)
def test_review_with_an_unfit_value_names_the_field(
    verdict: str, value: object, field: str, case: int, casework: Casework
) -> None:
    with pytest.raises(InvalidInput) as refused:
        casework.give_verdict(OWNER, case, verdict, value=value)
    assert refused.value.problems[0].pointer == field


@pytest.mark.parametrize(
    ("kind", "said", "value", "field"),
    [
        ("text", "A", "x" * 100_000, "/value"),
        ("text", "A", "a\0b", "/value"),
        ("text", "A", " \n", "/value"),
        ("fields", {"a": {"value": "b"}}, {}, "/value"),
        ("fields", {"a": {"value": "b"}}, {"a": "\0"}, "/value/a"),
        ("fields", {"a": {"value": "b"}}, {"a": None}, "/value/a"),
        ("fields", {"a": {"value": "b"}}, {"a": {"b": {"c": [1]}}}, "/value/a/value"),
        ("fields", {"a": {"value": "b"}}, {"a": "x" * 200_000}, "/value/a"),
        ("fields", {"a": {"value": "b"}}, {str(n): "x" * 60_000 for n in range(20)}, ""),
    ],
)
def test_review_with_a_value_that_the_contract_refuses_writes_nothing(
    kind: str, said: Any, value: Any, field: str, empty: Database
) -> None:
    populate(empty, kind=OutputKind(kind))
    Delivery(empty).take(output("o-1", kind=kind, value=said, confidence=0.1))
    with pytest.raises(InvalidInput) as refused:
        Casework(empty).give_verdict(OWNER, 1, "corrected", value=value)
    problem = refused.value.problems[0]
    assert problem.pointer == field
    assert problem.hint
    assert one(empty, 'SELECT state FROM "case"') == "open"


def test_fields_of_a_verdict_are_stored_as_the_contract_has_them(empty: Database) -> None:
    populate(empty, kind=OutputKind.FIELDS)
    said = {"caf\u00e9": {"value": "th\u00e9"}, "city": {"value": "Porto"}}
    Delivery(empty).take(output("o-1", kind="fields", value=said, confidence=0.1))
    casework = Casework(empty)
    with pytest.raises(InvalidInput, match="what the tool said"):
        casework.give_verdict(OWNER, 1, "corrected", value={"cafe\u0301": "the\u0301"})
    casework.give_verdict(OWNER, 1, "corrected", value={"cafe\u0301": "cre\u0300me"})
    assert one(empty, 'SELECT verdict_value FROM "case"') == {"caf\u00e9": "cr\u00e8me"}


def test_review_with_a_note_that_the_contract_refuses_names_it(
    case: int, casework: Casework
) -> None:
    with pytest.raises(InvalidInput) as refused:
        casework.give_verdict(OWNER, case, note="x" * 4_001)
    assert refused.value.problems[0].pointer == "/note"
    casework.give_verdict(OWNER, case, note="x" * 4_000)


def test_review_blind_with_the_tools_value_upholds(empty: Database) -> None:
    populate(empty, audit_rate=1.0)
    Delivery(empty).take(output("o-1"))
    assert Casework(empty).give_verdict(OWNER, 1, "corrected", value="billing") == "upheld"


def test_review_own_dispute_is_refused(
    log: Delivery, casework: Casework, database: Database
) -> None:
    dispute = correction("o-1", kind="dispute")
    data = dispute.data.model_copy(update={"actor": events.Actor(id=OWNER)})
    log.take(output("o-1"), dispute.model_copy(update={"data": data}))
    with pytest.raises(OwnDispute):
        casework.give_verdict(OWNER, 1)
    assert casework.give_verdict(TEAMMATE, 1) == "upheld"


def test_appeal_reopens_a_decided_case(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    casework.give_verdict(OWNER, 1)
    log.take(correction("o-1", kind="appeal", note="look again"))
    row = rows(database, 'SELECT state, cycle, verdict FROM "case"')[0]
    assert tuple(row) == ("open", 2, None)
    assert one(database, "SELECT count(*) FROM timer WHERE cycle = 2") == 3


def test_reopened_case_gets_its_first_deadlines_again(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    for _ in range(3):
        # What a holder gives back counts on: the claim deadline moves, its length does not.
        token = casework.claim(OWNER, 1)
        casework.do("release", OWNER, 1, token=token)
    casework.give_verdict(OWNER, 1)
    log.take(correction("o-1", kind="appeal", note="look again"))
    query = 'SELECT claim_due_at - cycle_opened_at, due_at - cycle_opened_at, cycle FROM "case"'
    assert rows(database, query) == [(timedelta(minutes=30), timedelta(minutes=30), 2)]


IN_WORKING_DAYS = """
version: 1
catch_all: {team: support, sla: {claim: 1bd, resolve: 3bd}, escalate: days}
ladders:
  days: [{at: 2bd, own: team:support}]
"""


@pytest.mark.parametrize("later", range(7))
def test_reopened_case_counts_working_days_from_the_day_on_which_it_is(
    later: int, database: Database, casework: Casework
) -> None:
    Delivery(database, read_policy(IN_WORKING_DAYS), timezone="Pacific/Auckland").take(
        output("o-1", confidence=0.1)
    )
    casework.give_verdict(OWNER, 1)
    zone = ZoneInfo("Pacific/Auckland")
    now = datetime.now(zone) + timedelta(days=later)
    with database.transaction() as session:
        asked = Reopening(queries.case(session, 1, lock=True), "somebody")
        assert begin_again(session, [asked], now=now) == {1}
    due = [after(now, Duration(days, Unit.WORKING_DAYS), weekdays(zone.key)) for days in (1, 2, 3)]
    of_case = 'SELECT claim_due_at, due_at, resolve_due_at FROM "case"'
    assert rows(database, of_case) == [(due[0], due[0], due[2])]
    timers = rows(database, "SELECT kind, due_at FROM timer WHERE cycle = 2 ORDER BY due_at")
    assert timers == [("claim", due[0]), ("rung", due[1]), ("resolve", due[2])]
