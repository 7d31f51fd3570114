"""Who answers just now for those who are wanted as owners: by name, by duty, as a manager.

A person who is away is answered for by whoever stands in; whoever has a schedule's duty owns
what it is wanted for, and the case remembers through which schedule.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from services.escalation import impartial, owners
from services.escalation.cases import Case
from services.escalation.rules import LAST_RESORT, LadderRung, Owner, Wanted, wanting
from services.escalation.timeline import Entry, Happening, passed_over
from services.people import ownership, schedule_queries
from services.people.presence import Presence
from services.people.schedule_queries import Roster


class Chain(NamedTuple):
    """Who is wanted for a case, the first who can be."""

    wanted: tuple[Wanted, ...]
    accountable: str | None = None
    """The person who is so far: whose manager may be meant."""
    barred: frozenset[str] = frozenset()
    """People who may not be, whoever is meant."""


def of_ladder(rungs: Iterable[LadderRung]) -> list[Wanted]:
    """Who is wanted on each of these rungs."""
    return [Wanted(rung["kind"], rung["id"]) for rung in rungs]


def wanted_again(case: Case, *, level: int) -> Chain:
    """Who is wanted for a decided case that is open again.

    Its owner, or whoever has the duty now through which they were; where they cannot be any more
    the first of its ladder who can, from a level on, or its team.
    """
    through = case.owner_schedule
    first = wanting(case.owner) if through is None else Wanted("schedule", through)
    ladder = of_ladder(case.ladder[level:])
    return Chain((first, *ladder, Wanted("team", case.team)), case.owner_person)


class Found(NamedTuple):
    """Who is accountable, and how that was found."""

    owner: Owner
    schedule: str | None = None
    """Through which one they are."""
    team: str | None = None
    """Whose people come to see the case; None where that stays as it was."""
    why: str | None = None
    """Why it is not who was wanted first; nothing where they plainly cannot, None where it is."""

    @property
    def columns(self) -> dict[str, str | None]:
        """The columns of a case that say so."""
        return {**owners.columns(self.owner), "owner_schedule": self.schedule, "team": self.team}


class Candidate(NamedTuple):
    """Who would be accountable where somebody is wanted; nobody, and why not."""

    owner: Owner | None
    why_not: str = ""

    def without(self, apart: frozenset[str]) -> "Candidate":
        """Nobody, where it would be one of these people, who have a part in the case."""
        owner = self.owner
        if owner is None or owner.kind != "person" or owner.id not in apart:
            return self
        return Candidate(None, self.why_not or f"{owner} has a part in the case")


@dataclass(frozen=True, slots=True)
class Answering:
    """What is known at a moment of those who are wanted."""

    now: datetime
    roster: Roster
    presence: Presence
    managers: Mapping[str, str]
    able: frozenset[Owner] = frozenset()
    """Those who can be accountable, and stay so until the transaction ends."""

    @property
    def able_people(self) -> frozenset[str]:
        """The people of these."""
        return frozenset(owner.id for owner in self.able if owner.kind == "person")

    def candidate(self, wanted: Wanted, accountable: str | None) -> Candidate:
        """Who would be accountable, whether they can be or not."""
        if wanted.kind == "team":
            return Candidate(Owner("team", wanted.id))
        if wanted.kind == "schedule":
            return self._on_duty(wanted.id)
        if wanted.kind == "manager":
            return self._manager(wanted.id or accountable)
        return self._person(wanted.id)

    def _on_duty(self, slug: str) -> Candidate:
        known = slug in self.roster.schedules
        person = self.roster.on_duty(slug, self.now) if known else None
        if person is None:
            return Candidate(None, f"nobody is on duty by schedule:{slug}")
        return Candidate(Owner("person", person))

    def _manager(self, of: str | None) -> Candidate:
        if of is None:
            return Candidate(None, "no person is accountable whose manager it could be")
        if of not in self.managers:
            return Candidate(None, f"{of} has no manager")
        return self._person(self.managers[of])

    def _person(self, email: str) -> Candidate:
        away = self.presence.absence(email, self.now)
        if away is None:
            return Candidate(Owner("person", email))
        instead = self.presence.answering(email, self.now, any_hour=True)
        owner = Owner("person", instead) if instead is not None else None
        return Candidate(owner, f"user:{email} is away")

    def first(self, chain: Chain) -> Found | None:
        """The first of a chain who can be accountable; None where nobody can."""
        why = None
        for place, wanted in enumerate(chain.wanted):
            owner, why_not = self.answers(wanted, chain.accountable).without(chain.barred)
            if place == 0 and (owner is None or why_not):
                why = why_not
            if owner is not None:
                return self.found(wanted, owner, why)
        return None

    def answers(self, wanted: Wanted, accountable: str | None) -> Candidate:
        """Who is accountable where somebody is wanted, or nobody; and why it is not they."""
        owner, why_not = self.candidate(wanted, accountable)
        return Candidate(owner if owner in self.able else None, why_not)

    def why_not(self, chain: Chain) -> str:
        """Why it is not whom a chain wants first; nothing where they plainly cannot."""
        return self.candidate(chain.wanted[0], chain.accountable).why_not

    def found(self, wanted: Wanted, owner: Owner, why: str | None = None) -> Found:
        """That this owner was found where somebody was wanted."""
        if wanted.kind != "schedule":
            return Found(owner, None, owners.seen_by(owner), why)
        return Found(owner, wanted.id, self.roster.schedules[wanted.id].team, why)


def ask(
    session: Session, chains: Iterable[Chain], *, beside: Iterable[str] = (), now: datetime
) -> Answering:
    """Who answers for all whom these chains want; those who can be accountable stay so.

    Teams and people are locked at once, in the order that all keep to: so whoever goes on to ask
    about others in the same transaction names them here as well, and `beside` them people who
    may own something all the same.
    """
    listed = list(dict.fromkeys(chains))
    seen = read(session, listed, now=now)
    wanted = {
        owner
        for chain in listed
        for one in chain.wanted
        if (owner := seen.candidate(one, chain.accountable).owner) is not None
    }
    wanted |= _managers_of_managers(seen, listed)
    wanted |= {Owner("person", email) for email in beside}
    able = owners.able(session, wanted) if wanted else set()
    return Answering(now, seen.roster, seen.presence, seen.managers, frozenset(able))


def read(session: Session, chains: Sequence[Chain], *, now: datetime) -> Answering:
    """The same, where nobody is locked, and nobody is known to be able."""
    wanted = {one for chain in chains for one in chain.wanted}
    slugs = {one.id for one in wanted if one.kind == "schedule"}
    roster = schedule_queries.roster(session, slugs, now, now)
    people = {one.id for one in wanted if one.kind == "person"}
    managers = _managers(session, chains, people | _on_duty(roster, now))
    named = people | set(managers.values())
    presence = schedule_queries.presence(session, named, now, now) if named else Presence({})
    return Answering(now, roster, presence, managers)


def _on_duty(roster: Roster, now: datetime) -> set[str]:
    found = (roster.on_duty(slug, now) for slug in roster.schedules)
    return {person for person in found if person is not None}


def _managers(session: Session, chains: Sequence[Chain], named: set[str]) -> dict[str, str]:
    """The managers whom these chains may mean.

    A case may climb several rungs in one transaction, from a person to their manager to theirs.
    """
    every = [one for chain in chains for one in chain.wanted if one.kind == "manager"]
    asked = {one.id for one in every if one.id}
    steps = max((chain.wanted.count(Wanted("manager")) for chain in chains), default=0)
    if steps:
        asked |= named | {chain.accountable for chain in chains if chain.accountable}
    found: dict[str, str] = {}
    for _ in range(max(steps, 1)):
        asked -= found.keys()
        if not asked:
            break
        more = schedule_queries.managers(session, asked)
        found |= more
        asked = set(more.values())
    return found


def _managers_of_managers(seen: Answering, chains: Sequence[Chain]) -> set[Owner]:
    """Whoever may be meant by a rung that names nobody in particular."""
    if not any(Wanted("manager") in chain.wanted for chain in chains):
        return set()
    found = (seen.candidate(Wanted("manager", of), None).owner for of in seen.managers)
    return {owner for owner in found if owner is not None}


def owning(session: Session, answering: Answering, chains: Sequence[Chain]) -> list[Found]:
    """Who is accountable of each of these chains.

    Where nobody of a chain can be, an admin stands in, else a lead, else whoever may review: the
    first of them who is not barred. Where nobody is, or they are away, it is the last resort.
    """
    found = {chain: answering.first(chain) for chain in dict.fromkeys(chains)}
    left = {chain.barred for chain, one in found.items() if one is None}
    spare = _spare(session, left, answering.now) if left else {}
    return [
        found[chain] or Found(spare[chain.barred], why=answering.why_not(chain)) for chain in chains
    ]


def _spare(
    session: Session, barred: Iterable[frozenset[str]], now: datetime
) -> dict[frozenset[str], Owner]:
    """Who stands in where these people may not."""
    everybody = ownership.stand_ins(session)
    first = {them: next((one for one in everybody if one not in them), None) for them in barred}
    named = {email for email in first.values() if email is not None}
    presence = schedule_queries.presence(session, named, now, now)
    there = {email for email in named if presence.absence(email, now) is None}
    return {
        them: Owner("person", email) if email in there else LAST_RESORT
        for them, email in first.items()
    }


def of_reopened(
    session: Session, cases: Sequence[Case], *, level: int | None = None, now: datetime
) -> list[Found]:
    """Who is accountable for each of these cases, locked, that are open again: from this level of
    the ladder on, else from that on which each is.

    Whoever may not judge one does not come to own it; where its owner may not, its team does,
    unless it is a schedule's: then whoever is on duty.
    """
    apart = impartial.apart(session, [case.id for case in cases])
    chains = [_fair(case, case.level if level is None else level, apart[case.id]) for case in cases]
    return first_able(session, chains, now=now)


def _fair(case: Case, level: int, apart: frozenset[str]) -> Chain:
    chain = wanted_again(case, level=level)
    barred = case.owner_schedule is None and case.owner_person in apart
    first = (Wanted("team", case.team),) if barred else ()
    return chain._replace(wanted=(*first, *chain.wanted), barred=apart)


def told_again(case: Case, found: Found) -> list[Entry]:
    """What the timeline says of a case that is open again, where its owner is another."""
    if found.owner == case.owner:
        return []
    if found.why is None and found.schedule is not None:
        return [on_duty_now(case.id, found)]
    first = wanted_again(case, level=case.level).wanted[0]
    return [passed_over(case.id, first, found.owner, found.why or "")]


def on_duty_now(case_id: int, found: Found) -> Entry:
    """That a case went to whoever has the duty now through which it is owned."""
    words = f"{found.owner} is on duty by schedule:{found.schedule}"
    detail = {"owner": found.owner.as_answer(), "schedule": found.schedule}
    return Entry(case_id, Happening.REASSIGNED, note=words, detail=detail)


def first_able(session: Session, chains: Sequence[Chain], *, now: datetime) -> list[Found]:
    """Who is accountable of each of these chains, until the transaction ends."""
    return owning(session, ask(session, chains, now=now), chains)
