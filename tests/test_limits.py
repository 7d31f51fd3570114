"""What a setting, a form or a policy takes, every table and every contract takes that it reaches.

The longest of everything goes the whole way: into the tables, through the gate, a case and its
verdict, and out in events, which the contracts check. One more is refused where it is given.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from secondlook import events, text
from secondlook.extent import PATTERN_CHARACTERS
from sqlalchemy.orm import Session

from services.escalation.policy.read import read as read_policy
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.people import service as people_service
from services.people.rules import Role
from services.tools.rules import VerdictKind
from tests.factories import Delivery, actor_of, add_person, add_tool, one, output, rows
from tests.factories.cases import give_verdict
from tests.factories.people import OPERATOR

TEAM, TOOL, QUEUE, CONDITION = (letter * text.SLUG_LENGTH for letter in "abqc")
_DOMAIN = "@example.org"
PERSON = "p" * (text.ID_BYTES - len(_DOMAIN)) + _DOMAIN
CATEGORY, OTHER = "k" * text.ID_BYTES, "ß" * (text.ID_BYTES // 2)
NOTE = "n" * text.NOTE_LENGTH
ATTRIBUTES = {
    "a" * (text.NAME_LENGTH - len(f"{n:02}")) + f"{n:02}": "v" * text.SHORT_LENGTH
    for n in range(text.ATTRIBUTES)
}
PATTERN = "*" + "p" * (text.SHORT_LENGTH - 1)
PATTERNS = [
    {"id": f"c{n}", "when": {"cohort": PATTERN}}
    for n in range(PATTERN_CHARACTERS // text.SHORT_LENGTH)
]
ONE_MORE = {"id": "more", "when": {"cohort": "*"}}
TOO_LONG = {"id": CONDITION + "c", "when": {"kind": "text"}}
POLICY = f"""
version: 1
catch_all: {{team: {TEAM}, sla: {{claim: 30m, resolve: 2h}}}}
rules:
  - {{id: all, when: {{tool: "*"}}, queue: {QUEUE}, owner: {{user: {PERSON}}}}}
"""


def _register(session: Session) -> None:
    now = DatabaseClock().now(session)
    people_service.add_team(session, TEAM, name="N" * text.NAME_LENGTH, actor=OPERATOR, now=now)
    add_person(session, PERSON, role=Role.LEAD, teams=[TEAM])
    when = {next(iter(f"attributes.{name}" for name in ATTRIBUTES)): "v" * text.SHORT_LENGTH}
    add_tool(
        session,
        TOOL,
        team=TEAM,
        categories=[CATEGORY, OTHER],
        review_when=[*PATTERNS, {"id": CONDITION, "when": when}],
    )


def test_the_longest_of_everything_goes_all_the_way(database: Database) -> None:
    with database.transaction() as session:
        _register(session)
    delivery = Delivery(database, read_policy(POLICY))
    delivery.take(
        output("o" * text.ID_BYTES, tool=TOOL, value=CATEGORY, attributes=ATTRIBUTES, confidence=1)
    )
    assert one(database, "SELECT count(*) FROM dead_letter") == 0
    case = one(database, 'SELECT id, queue, owner_person, trigger FROM "case"')
    assert case[1:] == (QUEUE, PERSON, "policy")
    with database.transaction() as session:
        give_verdict(
            session,
            actor_of(session, PERSON),
            case.id,
            token=None,
            lease=timedelta(minutes=5),
            verdict=VerdictKind.CORRECTED,
            value=OTHER,
            note=NOTE,
            now=DatabaseClock().now(session),
        )
    delivery.relay()
    assert one(database, "SELECT count(*) FROM dead_letter") == 0
    assert one(database, "SELECT decided_value, overridden FROM output") == (OTHER, True)
    sent = [events.decode(bytes(row.value)) for row in rows(database, "SELECT value FROM outbox")]
    (verdict,) = (one for one in sent if isinstance(one, events.VerdictRecorded))
    assert (verdict.data.actor.id, verdict.data.note) == (PERSON, NOTE)
    (opened,) = (one for one in sent if one.type == "secondlook.case.opened.v1")
    assert isinstance(opened, events.CaseMoved)
    assert (opened.data.queue, opened.data.owner.id) == (QUEUE, PERSON)


def _team(session: Session, **given: Any) -> None:
    given = {"slug": "new", "name": None} | given
    now = DatabaseClock().now(session)
    people_service.add_team(session, given.pop("slug"), actor=OPERATOR, now=now, **given)


@pytest.mark.parametrize(
    "add",
    [
        lambda session: _team(session, slug=TEAM + "a"),
        lambda session: _team(session, name="N" * (text.NAME_LENGTH + 1)),
        lambda session: add_person(session, "p" + PERSON, teams=[TEAM]),
        lambda session: add_tool(session, TOOL + "b", team=TEAM),
        lambda session: add_tool(session, "new", team=TEAM, categories=[CATEGORY + "k"]),
        lambda session: add_tool(session, "new", team=TEAM, categories=[OTHER + "k"]),
        lambda session: add_tool(session, "new", team=TEAM, review_when=[TOO_LONG]),
        lambda session: add_tool(session, "new", team=TEAM, review_when=[*PATTERNS, ONE_MORE]),
        lambda _: read_policy(POLICY.replace(QUEUE, QUEUE + "q")),
        lambda _: read_policy(POLICY.replace(PERSON, "p" + PERSON)),
    ],
)
def test_one_more_is_refused_where_it_is_given(
    add: Callable[[Session], None], database: Database
) -> None:
    with database.transaction() as session:
        _register(session)
    with pytest.raises(InvalidInput) as refused, database.transaction() as session:
        add(session)
    assert refused.value.problems[0].hint


def test_tables_take_the_slugs_that_contracts_take(database: Database) -> None:
    checks = rows(
        database,
        "SELECT conname, pg_get_constraintdef(oid) AS said FROM pg_constraint"
        " WHERE conname IN ('ck_team_slug', 'ck_tool_slug', 'ck_case_queue')",
    )
    assert len(checks) == 3
    assert all(text.SLUG in row.said for row in checks)
