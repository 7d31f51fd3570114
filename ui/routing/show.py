"""What the pages of routing show of the policy in force, and of those before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import Request
from starlette.responses import Response

from services.escalation.policy import revisions, usage
from services.escalation.policy.revisions import Revision, as_policy
from services.kit.errors import NotFound
from services.people.rules import Verb
from ui.kit.context import PageContext
from ui.routing.words import (
    SOURCES,
    RuleInWords,
    diff,
    ladders_in_words,
    names_of_owners,
    rules_in_words,
)

DAYS = 30
_HISTORY = 50


@dataclass(frozen=True, slots=True)
class ShownRule:
    """A rule, and what it did."""

    said: RuleInWords
    cases: int
    """How many it took of late; one that is only tried would have."""
    since: datetime | None
    """From when that counts, where a rule is only tried."""


@dataclass(frozen=True, slots=True)
class ShownRevision:
    """A revision as a row of the history."""

    number: int
    at: datetime
    by: str
    how: str
    tried: Mapping[str, int]


def show_overview(pages: PageContext, request: Request) -> Response:
    """The policy in force, rule by rule in sentences, with what each took."""
    actor = pages.actor(request, Verb.ROUTE_CASES)
    with pages.transaction() as (session, now):
        history = revisions.history(session, limit=_HISTORY)
        taken = usage.taken(session, since=now - timedelta(days=DAYS))
        tried = {one.rule: one for one in usage.tried(session, history)}
        called = names_of_owners(session)
    rules: list[ShownRule] = []
    ladders = []
    if history:
        policy = as_policy(history[0])
        ladders = ladders_in_words(policy, called)
        for said in rules_in_words(policy, called):
            known = tried.get(said.id)
            n = known.cases if known else taken.get(said.id, 0)
            rules.append(ShownRule(said, n, known.since if known else None))
    return pages.templates.render(
        request,
        "routing/overview.html",
        now=now,
        actor=actor,
        revision=_shown(history[0], {}) if history else None,
        content=history[0].content if history else "",
        rules=rules,
        ladders=ladders,
        days=DAYS,
    )


def show_history(pages: PageContext, request: Request) -> Response:
    """Who put which revision into force, the newest first."""
    pages.actor(request, Verb.ROUTE_CASES)
    with pages.transaction() as (session, now):
        history = revisions.history(session, limit=_HISTORY)
        tried = usage.tried_in(session, history)
    rows = [_shown(one, tried[one.number]) for one in history]
    return pages.templates.render(
        request, "routing/history.html", now=now, rows=rows, most=_HISTORY
    )


def show_revision(pages: PageContext, request: Request, named: str) -> Response:
    """A revision, and what it changed of the one before."""
    pages.actor(request, Verb.ROUTE_CASES)
    if not (named.isascii() and named.isdecimal() and len(named) < 19):
        raise NotFound("There is no such revision of the routing policy.")
    number = int(named)
    with pages.transaction() as (session, now):
        found = revisions.revision(session, number)
        before = revisions.before(session, number)
        newest = revisions.newest(session)
        called = names_of_owners(session)
    return pages.templates.render(
        request,
        "routing/revision.html",
        now=now,
        revision=_shown(found, {}),
        before=before.number if before else None,
        in_force=newest is not None and newest.number == number,
        lines=diff(before.content if before else "", found.content),
        rules=rules_in_words(as_policy(found), called),
        content=found.content,
    )


def _shown(found: Revision, tried: Mapping[str, int]) -> ShownRevision:
    return ShownRevision(found.number, found.at, found.by, SOURCES[found.source], tried)
