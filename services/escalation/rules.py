"""What a case can go through. Pure: no database, no web framework.

`TRANSITIONS` is the one place that knows a case's states: the SQL of every verb is made from it
(`transitions.py`), the database's own guard is, and so are the tests of what is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypedDict

from secondlook.text import ID_BYTES, actor_id, is_address


class SubjectKind(StrEnum):
    """What a case is about."""

    OUTPUT = "output"
    INCIDENT = "incident"
    """Cases of the same cause."""


class CaseState(StrEnum):
    """Where a case stands."""

    OPEN = "open"
    CLAIMED = "claimed"
    WAITING = "waiting"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"
    CLOSED = "closed"
    MERGED = "merged"


OPEN_STATES = (CaseState.OPEN, CaseState.CLAIMED, CaseState.WAITING, CaseState.SNOOZED)
PAUSED = (CaseState.WAITING, CaseState.SNOOZED)
"""In which nothing is asked of anybody until the case wakes."""


class Priority(StrEnum):
    """How urgent a case is; P1 first."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"


class PolicySource(StrEnum):
    """Where a routing policy comes from: the file that the settings name, a command or a page."""

    FILE = "file"
    COMMAND = "command"
    PAGE = "page"


class Clock(StrEnum):
    """What counts the time of a case: until somebody claims it, and until it is resolved.

    By the second one the case climbs its ladder, too.
    """

    CLAIM = "claim"
    RESOLVE = "resolve"


RUNNING: Mapping[CaseState, frozenset[Clock]] = {
    CaseState.OPEN: frozenset(Clock),
    CaseState.CLAIMED: frozenset({Clock.RESOLVE}),
}
"""The clocks that run in a state; in all others none does."""


class TimerKind(StrEnum):
    """What a timer runs for: to be claimed, to be resolved, a rung of the ladder, to wake."""

    CLAIM = "claim"
    RESOLVE = "resolve"
    RUNG = "rung"
    WAKE = "wake"


CLOCK_OF: Mapping[TimerKind, Clock] = {
    TimerKind.CLAIM: Clock.CLAIM,
    TimerKind.RESOLVE: Clock.RESOLVE,
    TimerKind.RUNG: Clock.RESOLVE,
}
"""The clock that each timer goes by; a case wakes when it does by the clock on the wall."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is accountable: a team by its slug or a person by e-mail address."""

    kind: Literal["team", "person"]
    id: str

    @classmethod
    def of(cls, kind: Literal["team", "person"], name: str) -> "Owner":
        """An owner as it is stored: addresses are compared without letter case."""
        return cls(kind, actor_id(name))

    @classmethod
    def stored(cls, team: str | None, person: str | None) -> "Owner":
        """The owner of a case, by the two columns of which exactly one is filled."""
        return cls("team", team) if team is not None else cls("person", person or "")

    def __str__(self) -> str:
        return f"{'user' if self.kind == 'person' else 'team'}:{self.id}"

    def as_answer(self) -> dict[str, str]:
        """The owner as events and answers carry it."""
        return {"kind": self.kind, "id": self.id}


class Wanted(NamedTuple):
    """Who is to be accountable: a team or a person by name, or whoever answers for something.

    Of a schedule whoever has its duty at that moment; `manager` is whose manager is meant, by
    e-mail address, or nobody's in particular: then of the person who is accountable so far.
    """

    kind: Literal["team", "person", "schedule", "manager"]
    id: str = ""

    @property
    def named(self) -> Owner | None:
        """The owner that it names, where it names one."""
        return Owner(self.kind, self.id) if self.kind in ("team", "person") else None

    def __str__(self) -> str:
        kind = "user" if self.kind == "person" else self.kind
        return f"{kind}:{self.id}" if self.id else kind


def wanting(owner: Owner) -> Wanted:
    """That this very owner is wanted."""
    return Wanted(owner.kind, owner.id)


def parse_owner(text: Any) -> Owner:
    """Read `team:<slug>` or `user:<e-mail>`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(text, Owner):
        return text
    kind, _, name = str(text).partition(":")
    if kind == "team" and name:
        return Owner("team", name)
    if kind == "user" and name:
        return Owner("person", parse_address(name))
    raise ValueError(f"'{str(text)[:60]}' names nobody; write team:<slug> or user:<e-mail>")


def parse_wanted(text: Any) -> Wanted:
    """Read an owner, `schedule:<slug>`, `manager` or `manager:<e-mail>`.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(text, Wanted):
        return text
    kind, _, name = str(text).partition(":")
    if kind == "schedule" and name:
        return Wanted("schedule", name)
    if text == "manager":
        return Wanted("manager")
    if kind == "manager" and name:
        return Wanted("manager", parse_address(name))
    try:
        return wanting(parse_owner(text))
    except ValueError as error:
        hint = "or user:<e-mail>, schedule:<slug>, manager or manager:<e-mail>"
        raise ValueError(str(error).replace("or user:<e-mail>", hint)) from None


def parse_address(name: str) -> str:
    """An e-mail address as every contract takes it.

    Raises:
        ValueError: it is none.
    """
    if not is_address(name) or len(name.encode()) > ID_BYTES:
        raise ValueError(f"'{name[:60]}' is no e-mail address; write name@domain")
    return Owner.of("person", name).id


class LadderRung(TypedDict):
    """A rung of the ladder that a case climbs, as the case keeps it: who is wanted, and when."""

    kind: Literal["team", "person", "schedule", "manager"]
    id: str
    after: str | None
    """The time from the cycle's beginning; None where a missed deadline alone leads to it."""
    repeat: str | None


class MonitoredRule(TypedDict):
    """What a rule that is merely tried would have given a case, as the case keeps it."""

    rule: str
    queue: str
    team: str
    """Whose people would see it."""
    owner: str
    priority: str


LAST_RESORT = Owner("team", "last-resort")
"""Owns what nobody else can: a team that is there from the first moment, and cannot leave."""


class AssignBy(StrEnum):
    """Who of a team is given a case: who has the fewest open, or whose turn it is."""

    LEAST_LOADED = "least_loaded"
    ROUND_ROBIN = "round_robin"


class CaseVerb(StrEnum):
    """Everything that moves a case from one state to another, or ends a claim."""

    CLAIM = "claim"
    RELEASE = "release"
    EXPIRE = "expire"
    DROP = "drop"
    WAIT = "wait"
    SNOOZE = "snooze"
    WAKE = "wake"
    OPINE = "opine"
    RESOLVE = "resolve"
    RESOLVE_PART = "resolve part"
    UNDO = "undo"
    UNDO_PART = "undo part"
    MERGE = "merge"
    UNMERGE = "unmerge"
    REOPEN = "reopen"
    REASSIGN = "reassign"
    CLOSE = "close"


class Who(StrEnum):
    """Who may do a verb."""

    REVIEWER = "reviewer"
    CLAIMANT = "claimant"
    OWNER = "owner, the claimant where there is one, or a lead"
    LEAD = "lead"
    GIVER = "whoever gave the verdict, or a lead"
    SYSTEM = "system"


class ClaimEffect(StrEnum):
    """What becomes of the claim."""

    TAKE = "take"
    END = "end"
    NONE = "there is none"


class ClockEffect(StrEnum):
    """What becomes of the clocks."""

    FOLLOW = "those run on that do in the new state, with what was left of them"
    RESTORE = "they go on as if they had never stood"
    START = "a new cycle begins"


@dataclass(frozen=True, slots=True)
class Transition:
    """From which states a verb leads where, and what it does to claim and clocks."""

    verb: CaseVerb
    sources: tuple[CaseState, ...]
    target: CaseState
    who: Who
    claim: ClaimEffect
    clocks: ClockEffect


_S, _V, _C, _K = CaseState, CaseVerb, ClaimEffect, ClockEffect

TRANSITIONS: dict[CaseVerb, Transition] = {
    one.verb: one
    for one in (
        # A live claim is renewed by its claimant alone; one that has run out is anybody's.
        Transition(_V.CLAIM, (_S.OPEN, _S.CLAIMED), _S.CLAIMED, Who.REVIEWER, _C.TAKE, _K.FOLLOW),
        Transition(_V.RELEASE, (_S.CLAIMED,), _S.OPEN, Who.CLAIMANT, _C.END, _K.FOLLOW),
        Transition(_V.EXPIRE, (_S.CLAIMED,), _S.OPEN, Who.SYSTEM, _C.END, _K.FOLLOW),
        Transition(_V.DROP, (_S.CLAIMED,), _S.OPEN, Who.SYSTEM, _C.END, _K.FOLLOW),
        Transition(_V.WAIT, (_S.CLAIMED,), _S.WAITING, Who.CLAIMANT, _C.END, _K.FOLLOW),
        Transition(_V.SNOOZE, (_S.OPEN, _S.CLAIMED), _S.SNOOZED, Who.OWNER, _C.END, _K.FOLLOW),
        # Or time does, or whoever brings something new.
        Transition(_V.WAKE, (_S.WAITING, _S.SNOOZED), _S.OPEN, Who.REVIEWER, _C.NONE, _K.FOLLOW),
        # Of several reviewers one has said what they think; somebody else is asked, too.
        Transition(_V.OPINE, (_S.CLAIMED,), _S.OPEN, Who.CLAIMANT, _C.END, _K.FOLLOW),
        Transition(_V.RESOLVE, (_S.CLAIMED,), _S.RESOLVED, Who.CLAIMANT, _C.END, _K.FOLLOW),
        Transition(_V.RESOLVE_PART, (_S.MERGED,), _S.RESOLVED, Who.REVIEWER, _C.NONE, _K.FOLLOW),
        Transition(_V.MERGE, OPEN_STATES, _S.MERGED, Who.LEAD, _C.END, _K.FOLLOW),
        Transition(_V.UNMERGE, (_S.MERGED,), _S.OPEN, Who.LEAD, _C.NONE, _K.RESTORE),
        Transition(_V.UNDO, (_S.RESOLVED,), _S.OPEN, Who.GIVER, _C.NONE, _K.RESTORE),
        Transition(_V.UNDO_PART, (_S.RESOLVED,), _S.MERGED, Who.GIVER, _C.NONE, _K.FOLLOW),
        Transition(_V.REOPEN, (_S.RESOLVED, _S.CLOSED), _S.OPEN, Who.REVIEWER, _C.NONE, _K.START),
        Transition(_V.REASSIGN, OPEN_STATES, _S.OPEN, Who.OWNER, _C.END, _K.FOLLOW),
        Transition(_V.CLOSE, (_S.RESOLVED,), _S.CLOSED, Who.SYSTEM, _C.NONE, _K.FOLLOW),
    )
}


def leads(source: CaseState, target: CaseState) -> bool:
    """Whether any verb leads from the one state to the other; to stay is no move."""
    return source is target or any(
        source in one.sources and target is one.target for one in TRANSITIONS.values()
    )


def moves() -> list[tuple[CaseState, CaseState]]:
    """Every move between two different states that some verb makes."""
    return [
        (source, target)
        for source in CaseState
        for target in CaseState
        if source is not target and leads(source, target)
    ]
