"""When somebody is mailed, and what a line says."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from services.notifications import rules
from services.notifications.rules import Choice, What

NOW = datetime(2026, 11, 30, 21, 7, 30, tzinfo=UTC)
"""A Monday; 22:07 in Berlin."""
QUIET = Choice(quiet_from=time(22), quiet_until=time(7), timezone="Europe/Berlin")


def at(choice: Choice, *, now: datetime = NOW, as_team: bool = False) -> datetime | None:
    return rules.mail_at(choice, What.OPENED, happened=now, now=now, as_team=as_team)


def test_at_once_unless_it_is_a_teams() -> None:
    assert at(Choice()) == NOW
    assert at(Choice(), as_team=True) == datetime(2026, 11, 30, 21, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes", "due"),
    [(15, "2026-11-30T21:15"), (60, "2026-11-30T22:00"), (1440, "2026-12-01T08:00")],
)
def test_gathered_until_the_next_time(minutes: int, due: str) -> None:
    assert at(Choice(digest_minutes=minutes)) == datetime.fromisoformat(f"{due}:00+00:00")


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-11-30T20:59", "2026-11-30T20:59"),
        ("2026-11-30T21:00", "2026-12-01T06:00"),
        ("2026-12-01T05:59", "2026-12-01T06:00"),
        ("2026-12-01T06:00", "2026-12-01T06:00"),
        # The night in which the clock goes forward.
        ("2027-03-27T22:30", "2027-03-28T05:00"),
    ],
)
def test_quiet_hours_end_by_the_wall_clock(now: str, due: str) -> None:
    moment, wanted = (datetime.fromisoformat(f"{one}:00+00:00") for one in (now, due))
    assert at(QUIET, now=moment) == wanted


def test_quiet_hours_within_a_day() -> None:
    lunch = Choice(quiet_from=time(12), quiet_until=time(13))
    noon = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)
    assert at(lunch, now=noon) == noon + timedelta(minutes=30)
    assert at(lunch, now=noon - timedelta(hours=1)) == noon - timedelta(hours=1)


URGENT = [
    (What.OPENED, "P1"),
    (What.REASSIGNED, "P2"),
    (What.ESCALATED, "P4"),
    (What.OVERDUE, None),
]


@pytest.mark.parametrize(("what", "priority"), URGENT)
@pytest.mark.parametrize("choice", [Choice(), Choice(digest_minutes=rules.DAY_MINUTES)])
def test_what_is_urgent_waits_for_no_digest(
    what: What, priority: str | None, choice: Choice
) -> None:
    given: Any = {"happened": NOW, "now": NOW, "as_team": True, "priority": priority}
    assert rules.mail_at(choice, what, **given) == NOW
    assert rules.mail_at(choice, What.OPENED, **given | {"priority": "P3"}) != NOW
    just_now = NOW - timedelta(seconds=30)
    assert rules.mail_at(choice, what, **given, mailed=just_now) == just_now + rules.URGENT_PAUSE


@pytest.mark.parametrize(
    ("what", "priority", "held"),
    [
        (What.OVERDUE, "P1", False),
        (What.OPENED, "P1", False),
        (What.OVERDUE, "P2", True),
        (What.ESCALATED, "P3", True),
        (What.VERDICT, None, True),
        (What.TEST, None, False),
    ],
)
def test_quiet_hours_hold_back_all_but_p1_and_a_test(
    what: What, priority: str | None, held: bool
) -> None:
    found = rules.mail_at(QUIET, what, happened=NOW, now=NOW, as_team=False, priority=priority)
    assert found == (datetime(2026, 12, 1, 6, tzinfo=UTC) if held else NOW)


def test_test_of_oneself_waits_for_no_digest() -> None:
    daily = Choice(digest_minutes=rules.DAY_MINUTES)
    assert rules.mail_at(daily, What.TEST, happened=NOW, now=NOW, as_team=False) == NOW


def test_never_where_it_is_not_wanted_or_no_news() -> None:
    assert at(Choice(not_mailed=frozenset({"opened"}))) is None
    old = NOW - timedelta(days=1, seconds=1)
    assert rules.mail_at(Choice(), What.OPENED, happened=old, now=NOW, as_team=False) is None


def test_line_says_how_urgent_until_when_and_whose() -> None:
    facts = rules.CaseFacts("7", "triage", "dispute", "support", NOW, "P1")
    said = rules.line_of_case(What.ESCALATED, facts)
    assert said == "P1: Case 7 of triage was escalated to team support. Due 30 Nov 21:07 UTC."


def test_page_of_an_output_with_any_id() -> None:
    assert rules.path_of(None, "triage", "a/b?c") == "/o/triage/a%2Fb%3Fc"
    assert rules.path_of(7, "triage", "x") == "/c/7"
    assert rules.path_of(None, None, None) == "/inbox"


@pytest.mark.parametrize(
    ("output_id", "named"),
    [
        ("t-4821", "t-4821"),
        ("zendesk:4821/7", "zendesk:4821/7"),
        ("Refund for Anna 4821", "an output"),
        ("anna4821@example.org", "an output"),
        ("my-refund-never-came", "an output"),
        ("4" * 81, "an output"),
    ],
)
def test_no_id_that_may_be_words_leaves(output_id: str, named: str) -> None:
    assert rules.line_of_undone("triage", output_id).startswith(f"The verdict on {named} of triage")
