"""Schedules and absences from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.factories import LEAD, OUTSIDER, OWNER, TEAM, TEAMMATE

SCHEDULE = f"""
timezone: Europe/Berlin
layers:
  - people: [{OWNER}, {TEAMMATE}]
    every: 1w
    start: 2026-11-02T09:00
"""
CALENDAR = 'timezone: Europe/Berlin\nhours: {mon-fri: ["09:00-17:00"]}\n'
IN_FORCE = "2099-11-04T12:00"
"""A time without a zone, far enough ahead that nothing said of it is over."""

Run = Callable[..., Any]


@pytest.fixture
def ready(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command where there is a schedule, and times are of New York."""
    monkeypatch.setenv("SECONDLOOK_TIMEZONE", "America/New_York")
    file = tmp_path / "schedule.yaml"
    file.write_text(SCHEDULE)
    done = run("schedules", "add", "first", "--team", TEAM, "--file", str(file), "--json")
    assert json.loads(done.stdout) == {"schedule": "first", "team": TEAM}
    return run


def who(run: Run, at: str, slug: str = "first") -> str:
    done = run("schedules", "who", slug, "--at", at)
    return done.stdout.strip() if done.exit_code == 0 else str(done.exception)


def test_who_prints_the_address_and_nothing_else(ready: Run) -> None:
    assert who(ready, "2026-11-03T12:00+01:00") == OWNER
    assert who(ready, "2026-11-10T12:00Z") == TEAMMATE
    # Without a zone, New York's: two in the morning there is eight in Berlin.
    assert who(ready, "2026-11-09T02:59") == OWNER
    assert who(ready, "2026-11-09T03:00") == TEAMMATE
    done = ready("schedules", "who", "first", "--at", "2026-11-03T12:00Z", "--json")
    found = {"schedule": "first", "at": "2026-11-03T12:00:00Z", "person": OWNER}
    assert json.loads(done.stdout) == found
    assert ready("schedules", "who", "first").stdout.strip() in (OWNER, TEAMMATE)


@pytest.mark.parametrize(
    ("slug", "at", "says"),
    [
        ("first", "2026-11-02T08:59+01:00", "Nobody is on duty in first: Mon 2 Nov 08:59"),
        ("second", "2026-11-03T12:00", "There is no schedule 'second'"),
        ("first", "noon", "'noon' is no date with a time"),
    ],
)
def test_who_fails_where_nobody_is(ready: Run, slug: str, at: str, says: str) -> None:
    done = ready("schedules", "who", slug, "--at", at)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert says in str(done.exception)


def test_override_away_and_back_change_who_is_on_duty(ready: Run) -> None:
    span = ("--from", "2099-11-04T00:00", "--until", "2099-11-05T00:00")
    turn = who(ready, IN_FORCE)
    done = ready("schedules", "override", "first", LEAD, *span, "--json")
    assert json.loads(done.stdout)["from"] == "2099-11-04T05:00:00+00:00"
    assert who(ready, IN_FORCE) == LEAD
    done = ready("people", "away", LEAD, *span, "--stand-in", TEAMMATE, "--json")
    assert json.loads(done.stdout)["stand_in"] == TEAMMATE
    assert who(ready, IN_FORCE) == TEAMMATE
    done = ready("people", "back", LEAD)
    assert "is not away" in str(done.exception)
    done = ready("schedules", "override", "first", OUTSIDER, *span)
    assert f"person: {OUTSIDER} is not of team 'support'" in str(done.exception)
    now = ("--from", "2026-01-01", "--until", "2099-01-01")
    assert ready("people", "away", OWNER, *now).exit_code == 0
    assert json.loads(ready("people", "back", OWNER, "--json").stdout)["ended"] == 1
    assert turn in (OWNER, TEAMMATE)


def test_people_have_a_calendar_and_a_manager(ready: Run, tmp_path: Path) -> None:
    file = tmp_path / "calendar.yaml"
    file.write_text(CALENDAR)
    assert ready("calendars", "add", "office", "--file", str(file)).exit_code == 0
    given = ("--calendar", "office", "--manager", LEAD)
    done = ready("people", "change", OWNER, *given, "--json")
    assert json.loads(done.stdout) == {"person": OWNER}
    (found,) = (
        p for p in json.loads(ready("people", "list", "--json").stdout) if p["email"] == OWNER
    )
    assert (found["calendar"], found["manager"]) == ("office", LEAD)
    assert "Nobody is on duty" in who(ready, "2026-11-03T18:00+01:00")
    assert ready("people", "change", OWNER, "--calendar", "none").exit_code == 0
    assert who(ready, "2026-11-03T18:00+01:00") == OWNER
    assert "Nothing is to be changed" in str(ready("people", "change", OWNER).exception)


def test_list_says_who_and_the_holes(ready: Run) -> None:
    assert ready("people", "change", OWNER, "--role", "rep").exit_code == 0
    (listed,) = json.loads(ready("schedules", "list", "--json").stdout)
    assert (listed["schedule"], listed["team"]) == ("first", TEAM)
    assert listed["holes"]
    assert listed["holes"][0].startswith("Nobody from ")
    assert listed["on_duty"] in (TEAMMATE, None)
    assert "Nobody from " in ready("schedules", "list").stdout


def test_a_schedule_that_cannot_be_used_is_refused_with_its_line(
    ready: Run, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(SCHEDULE.replace("1w", "1y"))
    done = ready("schedules", "add", "first", "--team", TEAM, "--file", str(file))
    assert done.exit_code == 1
    assert "line 5: '1y' is no length of a turn" in str(done.exception)
    assert who(ready, "2026-11-03T12:00Z") == OWNER
