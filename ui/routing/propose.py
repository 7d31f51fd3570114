"""Another routing policy: typed, checked, tried on the past, and only then put into force."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import Request
from starlette.responses import Response

from services.escalation.errors import PolicyMovedOn
from services.escalation.policy import revisions
from services.escalation.policy.check import Finding
from services.escalation.policy.read import read
from services.escalation.policy.replay import Replay, replay
from services.escalation.routing import policies
from services.escalation.service import policy_findings
from services.kit.errors import InvalidInput, Problem
from services.people.rules import Verb
from ui.kit.context import PageContext
from ui.routing.drawing import drawings, rows_of, shift_drawings, shifts_of
from ui.routing.show import DAYS
from ui.routing.words import DiffLine, diff, names_of_owners, rules_in_words

MOST = 20_000
"""So many of the newest cases a page's replay looks at, so that it answers in seconds."""
_AROUND = 2
_LINE = re.compile(r"\bline (\d+)")
_HINT = "Change it there, or add what is missing; `secondlook route check` finds the same."
_FIRST = """version: 1
catch_all: {team: TEAM, priority: P3, sla: {claim: 4h, resolve: 2bd}}
rules: []
"""


@dataclass(frozen=True, slots=True)
class Text:
    """A policy as it was typed, and the revision in force that its author looked at."""

    content: str
    upon: int


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """A line of what was typed."""

    number: int
    text: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class ShownProblem:
    """What is wrong with a policy, shown at its place."""

    words: str
    hint: str
    lines: list[NumberedLine]
    """The line, with those around it; none where no line is known."""


def show_form(pages: PageContext, request: Request, revision: int | None) -> Response:
    """The policy in force, or another revision, to be changed."""
    pages.actor(request, Verb.ROUTE_CASES)
    with pages.transaction() as (session, _):
        newest = revisions.newest(session)
        wanted = revisions.revision(session, revision) if revision is not None else newest
    text = Text(wanted.content if wanted else _FIRST, newest.number if newest else 0)
    return _show(pages, request, text)


def show_problems(
    pages: PageContext, request: Request, text: Text, error: InvalidInput
) -> Response:
    """What was typed, with everything that is wrong with it."""
    problems = error.problems or (Problem("", error.detail, ""),)
    shown = [_at_its_place(text.content, problem) for problem in problems]
    return _show(pages, request, text, status=error.status, problems=shown)


def show_moved_on(
    pages: PageContext, request: Request, text: Text, error: PolicyMovedOn
) -> Response:
    """What somebody else put into force meanwhile, and the proposal held against that."""
    with pages.transaction() as (session, _):
        newest, seen = revisions.newest(session), revisions.at(session, text.upon)
    theirs = diff(*(one.content if one else "" for one in (seen, newest)))
    anew = Text(text.content, newest.number if newest else 0)
    try:
        return show_proposal(
            pages, request, anew, status=error.status, moved_on=error.detail, theirs=theirs
        )
    except InvalidInput as invalid:
        return show_problems(pages, request, anew, invalid)


def show_proposal(
    pages: PageContext, request: Request, text: Text, *, status: int = 200, **more: Any
) -> Response:
    """What a policy that is sound would have made of the past, and the button.

    Raises:
        InvalidInput: it is not sound.
    """
    pages.actor(request, Verb.ROUTE_CASES)
    policy = read(text.content)
    with pages.transaction() as (session, now):
        findings = policy_findings(session, policy, now=now)
        if findings.problems:
            problems = tuple(map(_as_problem, findings.problems))
            raise InvalidInput("The routing policy is not sound.", problems=problems)
        newest = revisions.newest(session)
        in_force = revisions.as_policy(newest) if newest else None
        since = now - timedelta(days=DAYS)
        before = policies(session, in_force)
        found = replay(session, before, policy, since=since, now=now, most=MOST)
        rules = rules_in_words(policy, names_of_owners(session))
    proposal = {
        "rules": rules,
        "tests": len(policy.tests),
        "warnings": [str(one) for one in findings.warnings],
        "lines": diff(newest.content if newest else "", text.content),
        "in_force": newest.number if newest else None,
        **_drawn(found),
    }
    return _show(pages, request, text, status=status, proposal=proposal, **more)


def _drawn(found: Replay) -> dict[str, Any]:
    """A replay as pages draw it."""
    teams, owners, shifts = rows_of(found.teams), rows_of(found.owners), shifts_of(found)
    return {
        "replay": found,
        "days": DAYS,
        "most": MOST,
        "teams": teams,
        "owners": owners,
        "shifts": shifts,
        "team_drawings": drawings(teams),
        "owner_drawings": drawings(owners),
        "shift_drawings": shift_drawings(shifts),
    }


def _as_problem(found: Finding) -> Problem:
    return Problem(f"line {found.line}", found.problem, _HINT)


def _at_its_place(content: str, problem: Problem) -> ShownProblem:
    """A problem with the lines that it is about."""
    named = _LINE.search(problem.pointer) or _LINE.search(problem.problem)
    words, place = problem.problem, problem.pointer.removeprefix("/")
    if named is None:
        return ShownProblem(f"{place}: {words}" if place else words, problem.hint, [])
    number = int(named[1])
    said = words if _LINE.search(words) else f"line {number}: {words}"
    lines = content.split("\n")
    shown = [
        NumberedLine(n, lines[n - 1], n == number)
        for n in range(max(1, number - _AROUND), min(len(lines), number + _AROUND) + 1)
    ]
    return ShownProblem(said, problem.hint, shown)


def _show(
    pages: PageContext,
    request: Request,
    text: Text,
    *,
    status: int = 200,
    problems: Sequence[ShownProblem] = (),
    proposal: dict[str, Any] | None = None,
    moved_on: str = "",
    theirs: Sequence[DiffLine] = (),
) -> Response:
    return pages.templates.render(
        request,
        "routing/propose.html",
        status=status,
        text=text,
        problems=problems,
        proposal=proposal,
        moved_on=moved_on,
        theirs=theirs,
    )
