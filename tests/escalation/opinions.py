"""What tests of several reviewers say and ask."""

from typing import Any

from services.escalation.policy.read import read as read_policy
from services.kit.database import Database
from tests.factories import Casework, Delivery, add_person, rows
from tests.factories.routing import SEVERAL

ANNA = "anna@example.org"


def delivery(database: Database, reviewers: int = 2) -> Delivery:
    """Both consumers; every case is for so many."""
    return Delivery(database, read_policy(SEVERAL.format(reviewers=reviewers)))


def delivery_with_anna(database: Database) -> Delivery:
    """The same for two, where one more of the team may review."""
    with database.transaction() as session:
        add_person(session, ANNA)
    return delivery(database)


def say(casework: Casework, who: str, value: str, case: int = 1, **given: Any) -> Any:
    return casework.give_verdict(who, case, "corrected", value=value, **given)


def stands(database: Database) -> tuple[Any, ...]:
    query = 'SELECT state, verdict, verdict_value, verdict_by, divided FROM "case"'
    return tuple(rows(database, query)[0])


def published(database: Database, topic: str) -> list[str]:
    query = """SELECT convert_from(value, 'UTF8')::jsonb->>'type' FROM outbox
        WHERE topic = :topic ORDER BY id"""
    return [row[0].split(".")[-2] for row in rows(database, query, topic=topic)]


def verdicts(database: Database) -> list[tuple[Any, ...]]:
    query = """SELECT e->'data'->>'verdict', e->'data'->'value', e->'data'->'actor'->>'id',
            (e->'data'->>'blind')::boolean
        FROM (SELECT id, convert_from(value, 'UTF8')::jsonb AS e FROM outbox
            WHERE topic = 'secondlook.verdicts') told ORDER BY id"""
    return [tuple(row) for row in rows(database, query)]
