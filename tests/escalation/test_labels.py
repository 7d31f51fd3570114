"""Which opinions say how far reviewers agree."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.escalation import queries
from services.kit.database import Database
from tests.escalation.opinions import delivery_with_anna, say
from tests.factories import (
    LEAD,
    OWNER,
    TEAMMATE,
    TOOL,
    Casework,
    Delivery,
    correction,
    output,
)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Both consumers; every case is for two."""
    return delivery_with_anna(database)


def change(database: Database, *statements: str) -> None:
    """What no verb does, and the database keeps everybody from."""
    with database.transaction() as session:
        for statement in ("SET LOCAL session_replication_role = replica", *statements):
            session.execute(text(statement))


def labelled(database: Database, casework: Casework, **given: Any) -> list[tuple[int, str]]:
    with database.transaction() as session:
        since = casework.clock.now(session) - timedelta(days=1)
        found = queries.labels(session, since=since, **given)
    return [(one.case_id, one.reviewer) for one in found]


def test_opinions_on_another_tool_take_no_room(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.4), output("o-2", confidence=0.4))
    for case in (1, 2):
        for who in (OWNER, LEAD):
            say(casework, who, "tax", case)
    change(database, "UPDATE \"case\" SET tool = 'another' WHERE id = 2")
    assert labelled(database, casework, tool=TOOL, limit=2) == [(1, OWNER), (1, LEAD)]
    assert labelled(database, casework, limit=2) == [(2, OWNER), (2, LEAD)]


def test_third_opinion_stays_the_third_when_the_first_is_older_than_what_is_asked_for(
    log: Delivery, case: int, database: Database, casework: Casework
) -> None:
    for who, value in ((OWNER, "tax"), (LEAD, "refund"), (TEAMMATE, "tax")):
        say(casework, who, value)
    assert labelled(database, casework) == [(case, OWNER), (case, LEAD)]
    old = "UPDATE opinion SET given_at = given_at - interval '2 days' WHERE reviewer = "
    change(database, f"{old}'{OWNER}'")
    assert labelled(database, casework) == [(case, LEAD)]


@pytest.mark.parametrize("kind", ["dispute", "correction"])
def test_opinion_of_who_objected_since_counts_no_more(
    kind: str, log: Delivery, case: int, database: Database, casework: Casework
) -> None:
    for who in (OWNER, LEAD):
        say(casework, who, "tax")
    value = {"value": "refund"} if kind == "correction" else {}
    log.take(correction("o-1", kind=kind, who=LEAD, **value))
    assert labelled(database, casework) == [(case, OWNER)]
