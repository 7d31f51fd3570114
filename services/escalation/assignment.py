"""Who of a team is given a case. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.escalation.rules import AssignBy
from services.people.presence import Member


@dataclass(frozen=True, slots=True)
class Terms:
    """How a rule gives its cases to people of its team."""

    by: AssignBy
    max_open: int | None = None
    """How many open cases somebody owns who is given no more; any number where it is None."""
    skills: frozenset[str] = frozenset()
    """What whoever is given one can do."""


class Ask(NamedTuple):
    """A case that a rule gives to somebody of a team."""

    rule: str
    team: str
    terms: Terms
    unfit: str | None = None
    """Who may not review it, as they object to it."""


class Given(NamedTuple):
    """Who is given a case; or why nobody is, in words."""

    person: str | None
    why_not: str = ""


@dataclass(slots=True)
class Pool:
    """The people of teams with what they have: it changes with each case that is given."""

    members: Mapping[str, Sequence[Member]]
    loads: Counter[str]
    """How many open cases each of them owns."""
    turns: MutableMapping[str, str]
    """Who was given one last by each rule that goes round."""
    gone_round: set[str] = field(default_factory=set)
    """The rules that have gone on to somebody else since this was read."""

    @property
    def people(self) -> set[str]:
        """All of whom one may be given a case."""
        return {member.email for team in self.members.values() for member in team}

    def keep(self, people: Collection[str]) -> None:
        """Leave out who is none of these people."""
        self.members = {
            team: [member for member in members if member.email in people]
            for team, members in self.members.items()
        }

    def give(self, ask: Ask) -> Given:
        """Give a case to somebody who is there, can do it, and has not too many.

        The fewest open cases come first, and of as many the first address; or whoever comes
        after whom this rule gave one last, in the order of addresses.
        """
        skilled = [m for m in self.members.get(ask.team, ()) if ask.terms.skills <= m.skills]
        free = [m.email for m in skilled if self._is_free(m, ask)]
        if not free:
            return Given(None, self._why_not(ask, skilled))
        if ask.terms.by is AssignBy.LEAST_LOADED:
            person = min(free, key=lambda email: (self.loads[email], email))
        else:
            last = self.turns.get(ask.rule, "")
            person = min((email for email in free if email > last), default=min(free))
            self.turns[ask.rule] = person
            self.gone_round.add(ask.rule)
        self.loads[person] += 1
        return Given(person)

    def _is_free(self, member: Member, ask: Ask) -> bool:
        return member.here and member.email != ask.unfit and not self._is_full(member, ask)

    def _is_full(self, member: Member, ask: Ask) -> bool:
        most = ask.terms.max_open
        return most is not None and self.loads[member.email] >= most

    def _why_not(self, ask: Ask, skilled: Sequence[Member]) -> str:
        if not skilled:
            return f"nobody in team '{ask.team}'{_with(ask.terms.skills)} may review"
        absent = sum(not one.here for one in skilled)
        unfit = sum(one.here and one.email == ask.unfit for one in skilled)
        full = len(skilled) - absent - unfit
        reasons = [
            (absent, "not there now"),
            (unfit, "the one who disputes it"),
            (full, f"at {ask.terms.max_open} open cases"),
        ]
        return _in_words(_who(ask, len(skilled)), len(skilled), reasons)


def _who(ask: Ask, number: int) -> str:
    skills = ask.terms.skills
    if not skills:
        return f"of team '{ask.team}'"
    return f"who {'have' if number > 1 else 'has'} the {_listed(skills)}"


def _with(skills: frozenset[str]) -> str:
    return f" who has the {_listed(skills)}" if skills else ""


def _listed(skills: frozenset[str]) -> str:
    return f"skill{'s' if len(skills) > 1 else ''} {', '.join(sorted(skills))}"


def _in_words(who: str, number: int, reasons: Sequence[tuple[int, str]]) -> str:
    """`all 3 who have the skill refunds are at 12 open cases`, or how many for which reason."""
    true = [(n, words) for n, words in reasons if n]
    if len(true) > 1:
        parts = " and ".join(f"{n} {_are(n)} {words}" for n, words in true)
        return f"of the {number} {who} {parts}"
    ((_, words),) = true
    return f"the one {who} is {words}" if number == 1 else f"all {number} {who} are {words}"


def _are(number: int) -> str:
    return "are" if number > 1 else "is"
