"""`doctor`: what it finds wrong, and that it finds nothing where all is well."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from secondlook import events
from sqlalchemy import text

from services.kit.database import Database, make_engine
from services.kit.eventlog.port import NewRecord
from services.kit.eventlog.postgres import PostgresLog
from tests.factories import POLICY

_UNSOUND = """
version: 1
catch_all: {team: nowhere, sla: {claim: 30m, resolve: 2h}}
rules:
  - {id: all, when: {tool: "*"}, owner: {user: rita@example.org}}
  - {id: early, when: {tool: no-such-tool}, owner: {team: support}}
  - {id: again, when: {tool: "*"}, owner: {team: support}}
ladders:
  long:
    - {at: 0m, own: team:support}
    - {at: 1h, own: user:x@y.org}
tests:
  - {case: {trigger: dispute}, expect: {team: support}}
"""
_FOUND = [
    "line 6: rule 'early' is never reached: 'all' matches first",
    "line 7: rule 'again' is never reached: 'all' matches first",
    "line 3: catch_all names team:nowhere: team 'nowhere' has nobody active who may review",
    "line 5: rule 'all' names user:rita@example.org: rita@example.org is a rep, who may not review",
    "line 11: ladder 'long', rung 2 names user:x@y.org: nobody active has the address 'x@y.org'",
    "line 13: test 1: team is nowhere, expected support",
]
_WARNED = "line 6: rule 'early': no tool 'no-such-tool' is registered"


def test_check_and_doctor_find_the_same_in_a_policy(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "unsound.yaml"
    file.write_text(_UNSOUND)
    done = run("route", "check", str(file), "--json")
    assert done.exit_code == 1
    answer = json.loads(done.output)
    assert answer == {"sound": False, "problems": _FOUND, "warnings": [_WARNED]}
    monkeypatch.setenv("SECONDLOOK_ROUTING_FILE", str(file))
    assert f"routing policy: {'; '.join(_FOUND)} (warning: {_WARNED})" in run("doctor").output
    told = {one.pop("looked_at"): one for one in json.loads(run("doctor", "--json").output)}
    assert told["routing policy"] == {"problem": "; ".join(_FOUND), "warning": _WARNED}


def test_doctor_says_well_of_a_policy_with_a_warning(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "early.yaml"
    file.write_text(POLICY.replace('{predicted.category: "ta*"}', "{tool: no-such-tool}"))
    monkeypatch.setenv("SECONDLOOK_ROUTING_FILE", str(file))
    assert "routing policy: well (warning: line 5: rule 'taxes'" in run("doctor").output


def test_doctor_tells_of_a_timer_that_failed_and_of_dead_letters(run: Callable[..., Any]) -> None:
    database = Database(make_engine(os.environ["SECONDLOOK_DATABASE_URL"]))
    with database.transaction() as session:
        parked = "failures = 2, error = 'no such rung', parked_until = now() + interval '1 h'"
        session.execute(text(f"UPDATE timer SET {parked} WHERE kind = 'claim'"))
    database.close()
    said = run("doctor").output
    assert "timer claim of case 1 failed 2 times: no such rung" in said
    assert "dead letters wait" in said


@pytest.fixture
def waiting(run: Callable[..., Any]) -> Iterator[Callable[[str], None]]:
    """Appends a record of a topic and lets it grow three minutes old, with no consumer there."""
    log = PostgresLog(os.environ["SECONDLOOK_DATABASE_URL"])

    def wait(topic: str) -> None:
        log.append([NewRecord(topic, b"a/b", b"{}")])
        old = "UPDATE log_record SET appended_at = now() - interval '3 minutes'"
        with log.connection() as connection:
            connection.execute(old)

    yield wait
    log.close()


def _consumers(run: Callable[..., Any]) -> str:
    findings = json.loads(run("doctor", "--json").output)
    return next(one["problem"] for one in findings if one["looked_at"] == "consumers")


def _stand_at(
    consumer: str, topic: str, *, moved: str, next_offset: int = 0, taken: int = 7
) -> None:
    """Let a consumer stand at an offset of both partitions, where it last took one `moved` ago,
    of `taken` records."""
    database = Database(make_engine(os.environ["SECONDLOOK_DATABASE_URL"]))
    query = """INSERT INTO consumer_offset
        (consumer, topic, partition, start_offset, next_offset, taken, progressed_at)
        SELECT :consumer, :topic, number, 0, least(:next, p.next_offset), :taken,
               now() - CAST(:moved AS interval)
        FROM log_partition p WHERE p.topic = :topic"""
    given = {
        "consumer": consumer,
        "topic": topic,
        "next": next_offset,
        "moved": moved,
        "taken": taken,
    }
    with database.transaction() as session:
        session.execute(text(query), given)
    database.close()


def test_doctor_names_a_consumer_that_has_never_run(
    run: Callable[..., Any], waiting: Callable[[str], None]
) -> None:
    assert _consumers(run) == ""
    waiting(events.OUTPUTS)
    said = _consumers(run)
    assert said.startswith("1 record waits for feedback, the oldest since 18")
    assert "never taken one there: is `consume feedback` running?" in said
    assert "escalation" not in said


def test_doctor_names_a_consumer_that_began_and_has_taken_nothing(
    run: Callable[..., Any], waiting: Callable[[str], None]
) -> None:
    waiting(events.REVIEWS)
    _stand_at("escalation", events.REVIEWS, moved="2 seconds", taken=0)
    assert "never taken one there: is `consume escalation` running?" in _consumers(run)


@pytest.mark.parametrize(
    ("moved", "says"),
    [("5 minutes", "its log says what it fails at"), ("2 seconds", "it is catching up")],
)
def test_doctor_tells_a_consumer_that_stands_still_from_one_that_catches_up(
    moved: str, says: str, run: Callable[..., Any], waiting: Callable[[str], None]
) -> None:
    waiting(events.REVIEWS)
    _stand_at("escalation", events.REVIEWS, moved=moved)
    said = _consumers(run)
    assert "waits for escalation" in said
    assert says in said


def test_doctor_says_well_of_a_consumer_with_nothing_to_take(
    run: Callable[..., Any], waiting: Callable[[str], None]
) -> None:
    waiting(events.REVIEWS)
    _stand_at("escalation", events.REVIEWS, moved="3 days", next_offset=1)
    assert _consumers(run) == ""


def test_doctor_says_well_of_records_that_have_just_come(run: Callable[..., Any]) -> None:
    log = PostgresLog(os.environ["SECONDLOOK_DATABASE_URL"])
    log.append([NewRecord(events.OUTPUTS, b"a/b", b"{}")])
    log.close()
    assert _consumers(run) == ""
