"""Which events reach which webhook, from the log to the receiver, and what the docs say of it."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from secondlook import events
from standardwebhooks.webhooks import WebhookVerificationError

from services.escalation.policy.read import read as read_policy
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.notifications import webhooks
from services.notifications.channels.webhook import new_secret, signed_headers
from services.notifications.rules import Channel
from tests.escalation.incidents import GROUPED
from tests.factories import NOON, OTHER_TEAM, OWNER, TEAM, TOOL, Casework, Delivery, output, rows
from tests.factories.people import OPERATOR

DOCS = Path(__file__).parent.parent.parent / "docs" / "notifications.md"
URL = "https://hooks.example.org/in"


def connect(database: Database, *types: str, **more: Any) -> int:
    """A webhook that hears of these; answers its number."""
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        given = {"types": types, "allowed": (), **more}
        return webhooks.add(session, URL, **given, actor=OPERATOR, now=now).id


def sent(database: Database) -> list[tuple[int, str]]:
    """The types of the events that are to be sent, by webhook."""
    query = "SELECT webhook_id, payload FROM delivery WHERE webhook_id IS NOT NULL ORDER BY id"
    return [(row[0], json.loads(row[1]).get("type", "")) for row in rows(database, query)]


def test_webhook_hears_what_it_asked_for(database: Database, log: Delivery) -> None:
    hook = connect(database, "case.opened", "verdict.given", "secondlook.tool.changed.v1")
    log.take(output("o-1", confidence=0.1))
    case = rows(database, 'SELECT id FROM "case"')[0][0]
    Casework(database).give_verdict(OWNER, case)
    log.relay()
    heard = [(hook, "secondlook.case.opened.v1"), (hook, "secondlook.verdict.given.v1")]
    assert sorted(sent(database)) == heard


def test_webhook_of_a_team_hears_of_its_own_alone(database: Database, log: Delivery) -> None:
    ours = connect(database, "case.opened", team=TEAM)
    connect(database, "case.opened", team=OTHER_TEAM)
    log.take(output("o-1", confidence=0.1))
    assert sent(database) == [(ours, "secondlook.case.opened.v1")]


def test_body_is_the_event_as_it_is_on_the_log(database: Database, log: Delivery) -> None:
    connect(database, "case.opened")
    log.take(output("o-1", confidence=0.1))
    ((body,),) = rows(database, "SELECT payload FROM delivery WHERE webhook_id IS NOT NULL")
    ((value,),) = rows(database, "SELECT value FROM outbox WHERE topic = :t", t=events.CASES)
    assert body.encode() == bytes(value)
    event = events.decode(body.encode())
    assert isinstance(event, events.CaseMoved)
    assert (event.data.team, event.data.priority) == (TEAM, "P3")


def test_what_happened_before_is_not_sent(database: Database, log: Delivery) -> None:
    log.take(output("o-1", confidence=0.1))
    connect(database, "case.opened")
    with database.transaction() as session:
        session.connection().exec_driver_sql("UPDATE outbox SET sent_at = NULL")
    log.relay()
    assert sent(database) == []


def test_removed_webhook_hears_no_more(database: Database, log: Delivery) -> None:
    hook = connect(database, "case.opened")
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        now = DatabaseClock().now(session) + timedelta(seconds=1)
        webhooks.remove(session, hook, actor=OPERATOR, now=now)
    log.take(output("o-2", confidence=0.1))
    found = rows(database, "SELECT state, answer FROM delivery WHERE webhook_id IS NOT NULL")
    assert [tuple(row) for row in found] == [("failed", "the webhook was removed")]


def test_slack_gets_a_line(database: Database, log: Delivery) -> None:
    connect(database, "case.opened", "tool.changed", channel=Channel.SLACK)
    log.take(output("o-1", confidence=0.1))
    ((body,),) = rows(database, "SELECT payload FROM delivery WHERE channel = 'slack'")
    (line,) = json.loads(body)["lines"]
    assert line["text"] == f"Case opened: case 1 of {TOOL}."
    assert line["path"] == "/c/1"


def test_chat_is_told_of_an_incident_and_not_of_its_parts(database: Database) -> None:
    log = Delivery(database, read_policy(GROUPED))
    connect(database, "case.opened", channel=Channel.SLACK)
    for number in range(6):
        log.take(output(f"o-{number}", confidence=0.1))
    # The first alone, the second, and the incident that the third made.
    assert len(rows(database, "SELECT FROM delivery WHERE channel = 'slack'")) == 3


def test_the_docs_way_to_check_a_signature_works() -> None:
    block = re.search(r"```python\n(import json.+?)```", DOCS.read_text(), re.DOTALL)
    assert block is not None
    defined: dict[str, Any] = {}
    exec(block[1], defined)
    receive, secret = defined["receive"], new_secret()
    now = NOON.now(NOON.tzinfo)
    body = '{"id": "e-1", "größe": "ü"}'
    headers = signed_headers(secret, "msg_1", body, at=now)
    assert receive(body.encode(), headers, secret) == json.loads(body)
    for wrong, other in ((body + " ", secret), (body, new_secret())):
        with pytest.raises(WebhookVerificationError):
            receive(wrong.encode(), headers, other)
    old = signed_headers(secret, "msg_1", body, at=now - timedelta(minutes=6))
    with pytest.raises(WebhookVerificationError):
        receive(body.encode(), old, secret)
