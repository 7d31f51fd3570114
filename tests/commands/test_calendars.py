"""Calendars from the command line: added, used by teams and rules, refused with a line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALENDAR = 'timezone: Europe/Berlin\nhours: {mon-fri: ["09:00-17:00"]}\nholidays: DE-BE\n'


def test_a_calendar_is_added_and_a_team_goes_by_it(run: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "office.yaml"
    file.write_text("\ufeff" + CALENDAR, encoding="utf-8")
    for _ in range(2):
        added = run("calendars", "add", "office", "--file", str(file), "--json")
        assert json.loads(added.stdout) == {"calendar": "office"}
    changed = run("teams", "change", "support", "--calendar", "office", "--json")
    assert json.loads(changed.stdout) == {"team": "support", "calendar": "office"}
    changed = run("teams", "change", "support", "--calendar", "none", "--json")
    assert json.loads(changed.stdout) == {"team": "support", "calendar": None}


def test_what_is_no_calendar_or_no_team_is_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "office.yaml"
    file.write_text(CALENDAR.replace("17:00", "7:00"))
    refused = run("calendars", "add", "office", "--file", str(file))
    assert refused.exit_code == 1
    assert "/hours/mon-fri: line 2" in str(refused.exception)
    file.write_text(CALENDAR)
    for arguments, said in (
        (("calendars", "add", "No Slug", "--file", str(file)), "is no slug"),
        (("teams", "change", "support", "--calendar", "nights"), "no calendar 'nights'"),
        (("teams", "change", "nobody", "--calendar", "none"), "no team 'nobody'"),
    ):
        refused = run(*arguments)
        assert refused.exit_code == 1
        assert said in str(refused.exception)


def test_a_rule_s_calendar_must_be_there(run: Callable[..., Any], tmp_path: Path) -> None:
    policy = tmp_path / "routing.yaml"
    policy.write_text(policy.read_text().replace("resolve: 2h}", "resolve: 2h, calendar: office}"))
    checked = json.loads(run("route", "check", "--json").stdout)
    assert checked["problems"] == ["line 3: catch_all names calendar 'office', which is not there"]
    file = tmp_path / "office.yaml"
    file.write_text(CALENDAR)
    run("calendars", "add", "office", "--file", str(file))
    assert json.loads(run("route", "check", "--json").stdout)["sound"]
