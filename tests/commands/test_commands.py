"""Every command does what it says, on an installation with something in it."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from secondlook import events
from secondlook.extent import SEARCHES
from sqlalchemy import text
from typer.testing import CliRunner

from services.cli import app
from services.commands import dead_letters
from services.commands.shared import operator
from services.kit.database import Database, make_engine
from services.kit.errors import InvalidInput, NotFound, Unavailable
from tests.factories import OWNER, POLICY, REP, TEAMMATE, TOOL, Delivery

SERVING = {"run", "demo", "serve", "consume", "tick", "export"}
"""Commands that run until they are stopped; they have tests of their own."""

_SPAN = ("--from", "2026-01-01T00:00", "--until", "2099-01-01T00:00")
ELSEWHERE = {"webhooks remove", "notify test", "deliveries retry", "clock confirm"}
"""Commands that need something to be there first, and have tests of their own."""

COMMANDS: dict[str, list[str]] = {
    "migrate": [],
    "replay": ["feedback", events.OUTPUTS],
    "account": [],
    "agreement": [TOOL],
    "doctor": [],
    "dead-letters list": ["--all"],
    "dead-letters show": ["1"],
    "dead-letters retry": ["--all"],
    "dead-letters discard": ["1", "--reason", "a test"],
    "audit verify": [],
    "tools add": ["scanner", "--kind", "flag", "--team", "support"],
    "tools list": [],
    "tools state": [TOOL, "stopped"],
    "tools review-when": [TOOL, "--file", "<conditions>"],
    "teams add": ["billing"],
    "teams list": [],
    "teams change": ["support", "--calendar", "none"],
    "teams remove": ["other"],
    "people add": ["new@example.org", "--name", "New", "--role", "rep", "--skill", "refunds"],
    "people change": [REP, "--role", "ops", "--active", "--skill", "refunds"],
    "people list": [],
    "people away": [OWNER, *_SPAN, "--stand-in", TEAMMATE],
    "people back": [OWNER],
    "people deactivate": [REP],
    "people link": [OWNER],
    "people token": [OWNER],
    "calendars add": ["office", "--file", "<calendar>"],
    "schedules add": ["first", "--team", "support", "--file", "<schedule>"],
    "schedules list": [],
    "schedules who": ["first", "--at", "2026-02-02T12:00Z"],
    "schedules override": ["first", TEAMMATE, *_SPAN],
    "keys create": [TOOL],
    "keys list": [TOOL],
    "keys revoke": ["<prefix>"],
    "route check": [],
    "route test": [],
    "route put": ["<policy>"],
    "route history": [],
    "route replay": ["--against", "<policy>"],
    "route explain": ["1"],
    "route reapply": ["--open", "--dry-run"],
    "webhooks add": ["https://example.org/hook", "--events", "case.opened", "--team", "support"],
    "webhooks list": [],
    "deliveries list": ["--state", "waiting"],
}
ONCE = {"tools add", "teams add", "teams remove", "people add", "people deactivate"} | {
    "keys revoke",
    "keys create",
    "dead-letters discard",
    "people back",
}
"""Commands that cannot be done a second time."""
BEFORE = {"people back": "people away"} | dict.fromkeys(
    ("schedules list", "schedules who", "schedules override"), "schedules add"
)
"""Commands that are about what another one has made."""
FILES = {
    "<policy>": POLICY,
    "<conditions>": '- {id: vip, when: {attributes.vip: "yes"}}',
    "<calendar>": 'timezone: UTC\nhours: {mon-fri: ["09:00-17:00"]}',
    "<schedule>": f"""
timezone: UTC
layers: [{{people: [{OWNER}], every: 1d, start: 2026-01-05T09:00}}]""",
}


def commands(command: Any, name: str = "") -> Iterator[str]:
    """The full name of every command."""
    if hasattr(command, "commands"):
        for inner in command.commands.values():
            yield from commands(inner, f"{name} {inner.name}".strip())
    else:
        yield name


def test_every_command_is_tried() -> None:
    assert set(commands(typer.main.get_command(app))) == SERVING | ELSEWHERE | COMMANDS.keys()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_ends_well_and_speaks_json(
    name: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    (key,) = json.loads(run("keys", "list", TOOL, "--json").output)
    placed = {"<prefix>": key["prefix"]}
    for place, written in FILES.items():
        file = tmp_path / f"{place[1:-1]}.yaml"
        file.write_text(written)
        placed[place] = str(file)
    if name in BEFORE:
        made = [placed.get(argument, argument) for argument in COMMANDS[BEFORE[name]]]
        assert run(*BEFORE[name].split(), *made).exit_code == 0
    given = [placed.get(argument, argument) for argument in COMMANDS[name]]
    for more in (["--json"], []) if name not in ONCE else (["--json"],):
        done = run(*name.split(), *given, *more)
        # The dead letter is something to look at.
        assert done.exit_code == (1 if name == "doctor" else 0), done.output + repr(done.exception)
        assert done.output
        if more:
            json.loads(done.output)


def test_retried_letter_waits_no_longer(run: Callable[..., Any]) -> None:
    assert [one["id"] for one in json.loads(run("dead-letters", "list", "--json").output)] == [1]
    assert json.loads(run("dead-letters", "retry", "--all", "--json").output) == {"retried": 1}
    assert json.loads(run("dead-letters", "list", "--json").output) == []


def test_dead_letters_are_handled_under_the_operators_name(run: Callable[..., Any]) -> None:
    run("dead-letters", "retry", "1")
    database = Database(make_engine(os.environ["SECONDLOOK_DATABASE_URL"]))
    Delivery(database).take(b"more", topic=events.OUTPUTS, key=b"x")
    run("dead-letters", "discard", "2", "--reason", "a test")
    query = """SELECT verb, object_id, actor, detail FROM audit_entry
        WHERE object_kind = 'dead letter' ORDER BY id"""
    with database.transaction() as session:
        kept = [tuple(row) for row in session.execute(text(query))]
    database.close()
    who = operator().id
    assert kept == [("retry", "1", who, {}), ("discard", "2", who, {"reason": "a test"})]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody", events.OUTPUTS], "nobody"),
        (["feedback", "nope"], "feedback reads"),
        (["feedback", events.OUTPUTS, "--offset", "-5"], "--offset"),
    ],
)
def test_replay_of_what_is_not_there_is_refused(
    arguments: list[str], says: str, run: Callable[..., Any]
) -> None:
    done = run("replay", *arguments)
    assert done.exit_code == 2
    assert says in done.output


def test_command_in_a_folder_without_a_database_makes_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SECONDLOOK_DATABASE_URL", raising=False)
    monkeypatch.setenv("SECONDLOOK_DATA_DIR", str(tmp_path / "elsewhere"))
    done = CliRunner().invoke(app, ["tools", "list"])
    assert isinstance(done.exception, Unavailable)
    assert "There is no database" in str(done.exception)
    assert not (tmp_path / "elsewhere").exists()


def test_check_warns_of_a_tool_that_is_not_registered(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "early.yaml"
    file.write_text(POLICY.replace('{predicted.category: "ta*"}', "{tool: no-such-tool}"))
    done = run("route", "check", str(file))
    warning = "line 5: rule 'taxes': no tool 'no-such-tool' is registered"
    assert (done.exit_code, done.output) == (0, f"warning: {warning}\nsound\n")
    answer = json.loads(run("route", "check", str(file), "--json").output)
    assert answer == {"sound": True, "problems": [], "warnings": [warning]}


def test_account_says_of_each_tool_where_its_events_and_cases_are(run: Callable[..., Any]) -> None:
    said = run("account").output
    assert f"{TOOL}: 1 received, 1 stored, 0 duplicate" in said.replace("  ", " ")
    assert "cases: 1 open, 0 closed, 0 unowned" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["people", "add", "x@example.org", "--role", "rep", "--name", "caf\udce9"],
        ["tools", "add", "x", "--kind", "flag", "--team", "support", "--name", "caf\udce9"],
        ["dead-letters", "discard", "1", "--reason", "caf\udce9"],
    ],
)
def test_bytes_that_are_no_text_are_refused(arguments: list[str], run: Callable[..., Any]) -> None:
    done = run(*arguments)
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.problems[0].hint


def test_condition_that_names_a_fact_twice_is_refused(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "conditions.yaml"
    file.write_text('- {id: vip, when: {attributes.vip: "yes", attributes.vip: "no"}}')
    done = run("tools", "review-when", TOOL, "--file", str(file))
    assert isinstance(done.exception, InvalidInput)
    assert "stands here twice" in str(done.exception)


@pytest.mark.parametrize("written", ["", "# nothing yet\n", "null"])
def test_a_file_without_conditions_removes_none(
    written: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "conditions.yaml"
    file.write_text(written)
    done = run("tools", "review-when", TOOL, "--file", str(file))
    assert isinstance(done.exception, InvalidInput)
    assert "`[]`" in done.exception.problems[0].hint
    file.write_text("[]")
    assert run("tools", "review-when", TOOL, "--file", str(file)).exit_code == 0


def test_conditions_are_bounded_at_the_command_line_too(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "conditions.yaml"

    def write(bounds: int) -> None:
        asked = [(f"attributes.a{n}", {"gt": 1}) for n in range(bounds)]
        parts = [dict(asked[at : at + 10]) for at in range(0, bounds, 10)]
        conditions = [{"id": f"c{n}", "when": part} for n, part in enumerate(parts)]
        file.write_text(json.dumps(conditions))

    write(SEARCHES)
    assert run("tools", "review-when", TOOL, "--file", str(file)).exit_code == 0
    write(SEARCHES + 1)
    done = run("tools", "review-when", TOOL, "--file", str(file))
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.problems[0].pointer == "/review_when/50/when/attributes.a500"
    file.write_text("[]")
    assert run("tools", "review-when", TOOL, "--file", str(file)).exit_code == 0


def _more_dead_letters(count: int, *, tool: str | None = None) -> Database:
    database = Database(make_engine(os.environ["SECONDLOOK_DATABASE_URL"]))
    insert = """INSERT INTO dead_letter (consumer, topic, partition, "offset", value, tool, parked,
            reason, received_at)
        SELECT 'feedback', :topic, 0, 1000 + n, 'x', :tool, false, 'too_costly', now()
        FROM generate_series(1, :count) n"""
    with database.transaction() as session:
        given = {"topic": events.OUTPUTS, "tool": tool, "count": count}
        session.execute(text(insert), given)
    return database


def test_dead_letters_are_listed_page_by_page(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _more_dead_letters(120).close()
    first = run("dead-letters", "list").output.splitlines()
    assert len(first) == 51
    last = first[49].split()[0]
    assert first[50] == f"There are more: go on with --after {last}."
    following = run("dead-letters", "list", "--after", last, "--limit", "71").output.splitlines()
    assert [int(line.split()[0]) for line in following] == list(range(int(last) + 1, 122))
    monkeypatch.setattr(dead_letters, "_PAGE", 7)
    listed = json.loads(run("dead-letters", "list", "--json", "--limit", "20").output)
    assert [one["id"] for one in listed] == [int(line.split()[0]) for line in first[:20]]


_ENDS = """SELECT count(*) FILTER (WHERE retried_at IS NOT NULL),
        count(*) FILTER (WHERE discarded_at IS NOT NULL), count(*) FROM dead_letter"""
_NOTED = """SELECT verb, sum(jsonb_array_length(detail -> 'numbers')) FROM audit_entry
        WHERE object_kind = 'dead letters' GROUP BY verb"""


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [
        (["retry", "--tool", TOOL], (250, 0, 251)),
        (["retry", "--all"], (251, 0, 251)),
        (["discard", "--refused-for", "too_costly", "--reason", "a test"], (0, 250, 251)),
        (["discard", "--tool", TOOL, "--refused-for", "invalid", "--reason", "x"], (0, 0, 251)),
    ],
)
def test_dead_letters_are_dealt_with_by_tool_and_reason(
    arguments: list[str], ends: tuple[int, ...], run: Callable[..., Any]
) -> None:
    database = _more_dead_letters(250, tool=TOOL)
    done = run("dead-letters", *arguments, "--json")
    how_many = ends[0] + ends[1]
    assert json.loads(done.output) == {f"{arguments[0]}ed".replace("yed", "ied"): how_many}
    with database.transaction() as session:
        assert tuple(session.execute(text(_ENDS)).one()) == ends
        noted = [tuple(row) for row in session.execute(text(_NOTED))]
    database.close()
    assert noted == ([(arguments[0], how_many)] if how_many else [])


def test_several_dead_letters_are_discarded_together_or_not_at_all(run: Callable[..., Any]) -> None:
    database = _more_dead_letters(2)
    numbers = [one["id"] for one in json.loads(run("dead-letters", "list", "--json").output)]
    given = [str(number) for number in numbers]
    refused = run("dead-letters", "discard", *given, "999", "--reason", "a test")
    assert isinstance(refused.exception, NotFound)
    with database.transaction() as session:
        assert tuple(session.execute(text(_ENDS)).one()) == (0, 0, 3)
    assert "3 are discarded" in run("dead-letters", "discard", *given, "--reason", "a test").output
    with database.transaction() as session:
        assert tuple(session.execute(text(_ENDS)).one()) == (0, 3, 3)
    database.close()


@pytest.mark.parametrize("also", [[], ["1", "--tool", TOOL]])
def test_dead_letters_are_named_in_one_way(also: list[str], run: Callable[..., Any]) -> None:
    done = run("dead-letters", "discard", *also, "--reason", "a test")
    assert (done.exit_code, "by their numbers" in done.output) == (2, True)
