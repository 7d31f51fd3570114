"""How many cases each rule took, and how many a rule would have taken that is merely tried."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from services.escalation.policy.model import RoutingPolicy, Rule
from services.escalation.policy.revisions import Revision, as_policy
from services.escalation.policy.tallies import MONITORED, ROUTED
from services.kit import counts
from services.tools import queries as tools


class Tried(NamedTuple):
    """A rule that is merely tried: since when, and how many cases it would have taken."""

    rule: str
    since: datetime
    cases: int


def taken(session: Session, *, since: datetime) -> dict[str, int]:
    """How many cases each rule took, from the hour of a moment on."""
    known = tools.cache(session).tools(session)
    return counts.by_label(session, ROUTED, tools=known, since=since)


def tried(session: Session, history: Sequence[Revision]) -> list[Tried]:
    """The rules that are merely tried of the revision in force, the first of `history`.

    One counts from the revision on since which it has stood there as it does.
    """
    if not history or not (wanted := _tried(as_policy(history[0]))):
        return []
    totals = counts.ever_by_label(session, MONITORED)
    return [_since(rule, history, totals) for rule in wanted.values()]


def tried_in(session: Session, history: Sequence[Revision]) -> dict[int, dict[str, int]]:
    """Of each revision how many cases its rules that are merely tried would have taken."""
    totals = counts.ever_by_label(session, MONITORED)
    return {
        one.number: {id_: totals.get(_label(one, id_), 0) for id_ in _tried(as_policy(one))}
        for one in history
    }


def _since(rule: Rule, history: Sequence[Revision], totals: Mapping[str, int]) -> Tried:
    since, cases = history[0].at, 0
    for one in history:
        if _tried(as_policy(one)).get(rule.id) != rule:
            break
        since = one.at
        cases += totals.get(_label(one, rule.id), 0)
    return Tried(rule.id, since, cases)


def _tried(policy: RoutingPolicy) -> dict[str, Rule]:
    return {rule.id: rule for rule in policy.rules if rule.mode == "monitor"}


def _label(one: Revision, rule: str) -> str:
    return f"{one.number}/{rule}"
