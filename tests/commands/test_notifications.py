"""`webhooks`, `notify` and `deliveries` from the command line."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from standardwebhooks.webhooks import Webhook

from services.kit.database import Database, make_engine
from tests.factories import OWNER


@contextmanager
def database() -> Iterator[Database]:
    """The installation's database."""
    opened = Database(make_engine(os.environ["SECONDLOOK_DATABASE_URL"]))
    yield opened
    opened.close()


def settle(state: str, answer: str) -> None:
    """Every delivery stands so."""
    with database() as opened, opened.transaction() as session:
        statement = "UPDATE delivery SET state = :s, answer = :a, attempts = 3, sent_at = :at"
        at = "2026-01-01" if state == "sent" else None
        session.execute(text(statement), {"s": state, "a": answer, "at": at})


def give_up_one_to_each_webhook() -> None:
    """A delivery to each address failed."""
    statement = """
        INSERT INTO delivery (channel, destination, webhook_id, lane, message_id, payload, state)
        SELECT channel, url, id, 'webhook', 'msg_' || id, '{}', 'failed' FROM webhook"""
    with database() as opened, opened.transaction() as session:
        session.execute(text(statement))


def test_webhook_is_added_with_a_secret_that_is_told_once(run: Callable[..., Any]) -> None:
    url = "https://example.org/hook"
    secret = run("webhooks", "add", url, "--events", "case.opened,tool.changed").output.strip()
    assert secret.startswith("whsec_")
    Webhook(secret)
    (listed,) = json.loads(run("webhooks", "list", "--json").output)
    assert listed["events"] == ["secondlook.case.opened.v1", "secondlook.tool.changed.v1"]
    assert secret not in json.dumps(listed)
    assert run("webhooks", "remove", "1").output == "webhook 1 removed\n"
    assert json.loads(run("webhooks", "list", "--json").output) == []
    assert run("webhooks", "remove", "1").exit_code == 1


def test_lists_and_doctor_keep_the_secret_part_of_an_address_to_themselves(
    run: Callable[..., Any],
) -> None:
    secret = "T0/B0/xoxsecret"
    heard = ("--events", "case.opened")
    run("webhooks", "add", f"https://hooks.slack.com/services/{secret}", *heard, "--slack")
    run("webhooks", "add", f"https://example.org:8443/{secret}?key={secret}", *heard)
    give_up_one_to_each_webhook()
    for command in ("webhooks list", "deliveries list", "doctor"):
        for said in (run(*command.split()).output, run(*command.split(), "--json").output):
            assert "https://hooks.slack.com/" in said
            assert "https://example.org:8443/" in said
            assert secret not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ftp://example.org", "--events", "case.opened"], "no web address"),
        (["https://u:p@example.org", "--events", "case.opened"], "a name or a password"),
        (["https://example.org", "--events", "case.exploded"], "there is no event"),
        (["https://example.org", "--events", ","], "no event is named"),
        (["https://example.org", "--events", "case.opened", "--team", "no"], "no team 'no'"),
    ],
)
def test_webhook_that_cannot_be_is_refused(
    arguments: list[str], says: str, run: Callable[..., Any]
) -> None:
    done = run("webhooks", "add", *arguments)
    assert done.exit_code == 1
    assert says in str(done.exception)


def test_test_mail_that_nobody_sends_says_so(run: Callable[..., Any]) -> None:
    done = run("notify", "test", OWNER, "--wait", "1")
    assert done.exit_code == 1
    assert "is `tick` running?" in str(done.exception)
    (row,) = json.loads(run("deliveries", "list", "--json").output)
    assert {name: row[name] for name in ("id", "channel", "to", "state", "attempts")} == {
        "id": 1,
        "channel": "email",
        "to": OWNER,
        "state": "waiting",
        "attempts": 0,
    }


def test_what_was_given_up_is_tried_again(run: Callable[..., Any]) -> None:
    run("notify", "test", OWNER, "--wait", "1")
    assert run("deliveries", "retry", "1").exit_code == 1
    settle("failed", "550 no")
    assert "3 attempts  550 no" in run("deliveries", "list").output
    assert run("deliveries", "retry", "1").output == "delivery 1 is tried again\n"
    assert len(json.loads(run("deliveries", "list", "--state", "waiting", "--json").output)) == 1
