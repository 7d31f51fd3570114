"""A routing policy in sentences, for those who read rules and write none. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from secondlook.conditions import ATTRIBUTE, Choice, Clause, Comparison, Condition

from services.escalation.policy.grouping import Group
from services.escalation.policy.ladders import Rung
from services.escalation.policy.model import (
    CASE_FACTS,
    OF_ANSWER,
    CatchAll,
    RoutingPolicy,
    Rule,
)
from services.escalation.rules import AssignBy, Owner, Wanted
from services.kit.durations import DAY, Duration, Unit
from services.tools.rules import Trigger

Called = Callable[[Wanted | Owner], str]
"""What people call whoever is wanted as the owner."""

_LISTED = 5
_BLIND = "each without knowing what the tool or the others said"
_PLAIN = re.compile(r"[\w./*:@+&%-]+")
_NOUNS = {
    Trigger.LOW_CONFIDENCE: "an output of low confidence",
    Trigger.DISPUTE: "a dispute",
    Trigger.TOOL_FAILURE: "a failure",
    Trigger.POLICY: "an output that a review condition holds up",
    Trigger.AUDIT: "an audit",
    Trigger.UNMATCHED: "a correction without its output",
}
_FAILED = "that failed "
_KINDS = {"category": "a category", "text": "a text", "flag": "a flag", "fields": "fields"}
_UNITS = (
    (Unit.SECONDS, DAY, "day"),
    (Unit.SECONDS, 3600, "hour"),
    (Unit.SECONDS, 60, "minute"),
    (Unit.SECONDS, 1, "second"),
    (Unit.WORKING_SECONDS, 3600, "working hour"),
    (Unit.WORKING_DAYS, 1, "working day"),
)


class Phrase(NamedTuple):
    """A clause in words."""

    fact: str
    words: str


def of_rule(rule: Rule, policy: RoutingPolicy, called: Called) -> str:
    """`A dispute of categoriser that says billing/* goes to Billing ops, priority P2: to be …`."""
    verb = "goes to" if rule.mode == "active" else "would go to"
    owner = called(rule.owner.owner) + _given(rule)
    said = f"{_capital(subject(rule.when))} {verb} {owner}{_rest(rule, policy)}"
    if _asks_what_audits_hide(rule.when):
        said += " Audits pass it by."
    return said if rule.mode == "active" else f"{said} It is only tried, and takes nothing."


def of_catch_all(policy: RoutingPolicy, called: Called) -> str:
    """The same of what no rule takes."""
    part = policy.catch_all
    others = "Every other case" if policy.rules else "Every case"
    return f"{others} goes to {called(part.owner.owner)}{_given(part)}{_rest(part, policy)}"


def of_ladder(rungs: Sequence[Rung], called: Called) -> Iterator[str]:
    """Each rung of a ladder in turn. The one at the opening is whoever the rule names."""
    yield "From the opening on: the owner that the rule names."
    for rung in rungs:
        if rung.at is None:
            yield f"At a missed deadline: {called(rung.own)}."
        elif rung.at.amount:
            again = f", told again every {in_words(rung.repeat)}" if rung.repeat else ""
            yield f"After {in_words(rung.at)}: {called(rung.own)}{again}."


def subject(when: Mapping[str, Clause]) -> str:
    """The cases that clauses hold for: `a dispute of categoriser that says billing/*`."""
    noun = said = _noun(when)
    related = False
    for phrase in phrases(when):
        words = phrase.words
        if noun == _NOUNS[Trigger.TOOL_FAILURE]:
            words = words.removeprefix(_FAILED)
        relative = words.startswith(("that ", "whose "))
        said += f" and {words}" if relative and related else f" {words}"
        related = related or relative
    return said


def phrases(when: Mapping[str, Clause]) -> list[Phrase]:
    """Each clause but that of the trigger, in the order in which they read best."""
    known = [Phrase(fact, say(when[fact])) for fact, say in _SAY.items() if fact in when]
    others = [fact for fact in when if fact.startswith(ATTRIBUTE)]
    return known + [Phrase(fact, _attribute(fact, when[fact])) for fact in others]


def in_words(span: Duration) -> str:
    """`30 minutes`, `1 working day`."""
    for unit, length, name in _UNITS:
        if span.unit is unit and span.amount % length == 0 and (span.amount or length == 1):
            n = span.amount // length
            return f"{n} {name}{'' if n == 1 else 's'}"
    return str(span)


# --- what a case gets -----------------------------------------------------------------------


def _given(part: Rule | CatchAll) -> str:
    """`, to whoever of it has the skill refunds and the fewest cases, 12 at most`."""
    terms = part.owner.terms(part.assign)
    if terms is None:
        return ""
    skills = f"can do {', '.join(sorted(terms.skills))} and " if terms.skills else ""
    fewest = terms.by is AssignBy.LEAST_LOADED
    most = f", {terms.max_open} open ones at most" if terms.max_open is not None else ""
    return f", to whoever of it {skills}{'has the fewest' if fewest else 'is next'}{most}"


def _rest(part: Rule | CatchAll, policy: RoutingPolicy) -> str:
    sla = part.sla or policy.catch_all.sla
    queue = f", queue {_quoted(part.queue)}" if part.queue else ""
    hours = f" by the calendar {_quoted(sla.calendar)}" if sla.calendar else ""
    ladder = part.escalate or policy.catch_all.escalate
    climbs = f"It climbs '{ladder}'." if ladder else "It climbs no ladder."
    said = (
        f"{queue}, priority {part.priority}: to be claimed within {in_words(sla.claim)}, resolved"
        f" within {in_words(sla.resolve)}{hours}. {climbs}"
    )
    if part.reviewers > 1:
        said += f" {part.reviewers} people judge it, {_BLIND}."
    return said if part.group is None else f"{said} {_together(part.group)}"


def _together(group: Group) -> str:
    if group.by == []:
        return "Its cases are never made one incident."
    alike = f"whose {_and(group.by)} {_are(group.by)} the same" if group.by else "of the same cause"
    within = in_words(group.window)
    return f"{group.incident_at} of them {alike} within {within} become one incident."


def _and(words: Sequence[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


def _are(words: Sequence[str]) -> str:
    return "are" if len(words) > 1 else "is"


def _asks_what_audits_hide(when: Mapping[str, Clause]) -> bool:
    trigger = when.get("trigger", "*")
    could = Condition({"trigger": trigger}).holds({"trigger": Trigger.AUDIT.value})
    return could and any(fact in when for fact in OF_ANSWER)


# --- clauses --------------------------------------------------------------------------------


def _noun(when: Mapping[str, Clause]) -> str:
    if "trigger" not in when:
        return "a case"
    return _any(_NOUNS[Trigger(word)] for word in _words_of("trigger", when["trigger"]))


def _words_of(fact: str, clause: Clause) -> list[str]:
    """The words that a fact of few can be where a clause holds, as it may be a pattern."""
    condition = Condition({fact: clause})
    return [word for word in CASE_FACTS[fact].words if condition.holds({fact: word})]


def _confidence(clause: Clause) -> str:
    if not isinstance(clause, Comparison):
        return f"with a confidence of {_value(clause)}"
    # A confidence that is not there is below every bound.
    none = " or none" if clause.gt is None and clause.ge is None else ""
    return f"with a confidence {clause}{none}"


def _flag(clause: Clause) -> str:
    choices = clause if isinstance(clause, list) else [clause]
    return "that was " + _any("raised" if one is True else "not raised" for one in choices)


def _kind(clause: Clause) -> str:
    return "whose output is " + _any(_KINDS[word] for word in _words_of("kind", clause))


def _attribute(fact: str, clause: Clause) -> str:
    return f"whose {_quoted(fact.removeprefix(ATTRIBUTE))} is {_value(clause)}"


def _after(words: str) -> Callable[[Clause], str]:
    return lambda clause: f"{words} {_value(clause)}"


_SAY: Mapping[str, Callable[[Clause], str]] = {
    "tool": _after("of"),
    "version": _after("in version"),
    "version.model": _after("by model"),
    "version.prompt": _after("with prompt"),
    "language": _after("in language"),
    "cohort": _after("in cohort"),
    "kind": _kind,
    "predicted.category": _after("that says"),
    "predicted.flag": _flag,
    "confidence": _confidence,
    "failure": lambda clause: f"{_FAILED}by " + _any(_words_of("failure", clause)),
}


def _value(clause: Clause) -> str:
    if isinstance(clause, Comparison):
        return str(clause)
    choices = clause if isinstance(clause, list) else [clause]
    return _any(map(_choice, choices))


def _choice(choice: Choice) -> str:
    if isinstance(choice, bool):
        return "true" if choice else "false"
    return _quoted(choice) if isinstance(choice, str) else f"{choice:g}"


def _quoted(word: str) -> str:
    """A word as it is; one that could be mistaken for the sentence's own in quotes."""
    if word == "*":
        return "anything"
    return word if _PLAIN.fullmatch(word) else f"'{word}'"


def _any(words: Iterable[str]) -> str:
    """`a, b or c`; of many the first few, and how many others."""
    listed = list(dict.fromkeys(words))
    if len(listed) > _LISTED + 1:
        more = len(listed) - _LISTED
        listed = [*listed[:_LISTED], f"one of {more} others"]
    *before, last = listed
    return f"{', '.join(before)} or {last}" if before else last


def _capital(said: str) -> str:
    return said[:1].upper() + said[1:]
