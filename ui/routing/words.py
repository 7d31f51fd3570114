"""Routing policies as pages say them."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.escalation.policy import sentences
from services.escalation.policy.model import CATCH_ALL, RoutingPolicy
from services.escalation.policy.sentences import Called
from services.escalation.rules import Owner, Wanted
from services.kit.database import Session
from services.people import ownership

SOURCES = {
    "file": "from the file of the settings",
    "command": "by command",
    "page": "on a page",
}
"""By what way a policy was put into force."""
_AROUND = 3


@dataclass(frozen=True, slots=True)
class RuleInWords:
    """A rule as it is read."""

    id: str
    line: int
    monitored: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class LadderInWords:
    """A ladder as it is read."""

    name: str
    rungs: list[str]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a diff: its sign (`+`, `-`, a blank, `@` for what is left out), and its text."""

    sign: str
    text: str


def names_of_owners(session: Session) -> Called:
    """What everybody is called who can own a case; others keep their slug or address."""
    names = {(one.kind, one.id): one.name for one in ownership.candidates(session)}

    def called(owner: Wanted | Owner) -> str:
        if owner.kind == "schedule":
            return f"whoever is on duty by {owner.id}"
        if owner.kind == "manager":
            of = names.get(("person", owner.id), owner.id) or "whoever owns it"
            return f"the manager of {of}"
        return names.get((owner.kind, owner.id)) or owner.id

    return called


def rules_in_words(policy: RoutingPolicy, called: Called) -> list[RuleInWords]:
    """Every rule, in the order in which they are tried; last what takes the rest."""
    rules = [
        RuleInWords(
            rule.id,
            policy.line_of("rules", n),
            rule.mode == "monitor",
            sentences.of_rule(rule, policy, called),
        )
        for n, rule in enumerate(policy.rules)
    ]
    rest = sentences.of_catch_all(policy, called)
    return [*rules, RuleInWords(CATCH_ALL, policy.line_of("catch_all"), False, rest)]


def ladders_in_words(policy: RoutingPolicy, called: Called) -> list[LadderInWords]:
    """Every ladder, rung by rung."""
    return [
        LadderInWords(name, list(sentences.of_ladder(rungs, called)))
        for name, rungs in policy.ladders.items()
    ]


def diff(before: str, after: str) -> list[DiffLine]:
    """What changed from the one text to the other, with a few lines around it."""
    return list(_lines(before.splitlines(), after.splitlines()))


def _lines(before: Sequence[str], after: Sequence[str]) -> Iterator[DiffLine]:
    # Two lines that name files come first, which these are not.
    for line in list(difflib.unified_diff(before, after, n=_AROUND, lineterm=""))[2:]:
        if line.startswith("@@"):
            yield DiffLine("@", _place(line))
        else:
            yield DiffLine(line[:1], line[1:])


def _place(line: str) -> str:
    """`@@ -5,7 +5,9 @@` as `From line 5`."""
    return f"From line {line.split('+')[1].split()[0].partition(',')[0]}"
