"""What a case can go through. Pure: no database, no web framework.

`TRANSITIONS` is the one place that knows a case's states: the SQL of every verb is made from it
(`transitions.py`), the database's own guard is, and so are the tests of what is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypedDict

from secondlook.text import ID_BYTES, actor_id, is_address

from services.kit.durations import parse_duration


class SubjectKind(StrEnum):
    """What a case is about."""

    OUTPUT = "output"


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


class Priority(StrEnum):
    """How urgent a case is; P1 first."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"


class TimerKind(StrEnum):
    """What a timer runs for: to be claimed, to be resolved, or a rung of the ladder."""

    CLAIM = "claim"
    RESOLVE = "resolve"
    RUNG = "rung"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is accountable: a team by its slug or a person by e-mail address."""

    kind: Literal["team", "person"]
    id: str

    @classmethod
    def of(cls, kind: Literal["team", "person"], name: str) -> "Owner":
        """An owner as it is stored: addresses are compared without letter case."""
        return cls(kind, actor_id(name))

    def __str__(self) -> str:
        return f"{'user' if self.kind == 'person' else 'team'}:{self.id}"

    def as_answer(self) -> dict[str, str]:
        """The owner as events and answers carry it."""
        return {"kind": self.kind, "id": self.id}


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
    if kind == "schedule":
        raise ValueError("schedules are not supported yet; name a team:<slug> or user:<e-mail>")
    raise ValueError(f"'{str(text)[:60]}' names nobody; write team:<slug> or user:<e-mail>")


def parse_address(name: str) -> str:
    """An e-mail address as every contract takes it.

    Raises:
        ValueError: it is none.
    """
    if not is_address(name) or len(name.encode()) > ID_BYTES:
        raise ValueError(f"'{name[:60]}' is no e-mail address; write name@domain")
    return Owner.of("person", name).id


class LadderRung(TypedDict):
    """A rung of the ladder that a case climbs, as the case keeps it."""

    kind: Literal["team", "person"]
    id: str
    after: str | None
    """The time from the cycle's beginning; None where a missed deadline alone leads to it."""
    at: str | None
    """The moment at which that is, in the cycle that the case is in."""
    repeat: str | None


def timed(ladder: Sequence[LadderRung], begun: datetime) -> list[LadderRung]:
    """The ladder of a cycle that begins at `begun`, in the time zone of the case."""
    return [
        {**rung, "at": None if rung["after"] is None else _moment(rung["after"], begun)}
        for rung in ladder
    ]


def _moment(span: str, begun: datetime) -> str:
    return parse_duration(span).after(begun).isoformat()


LAST_RESORT = Owner("team", "last-resort")
"""Owns what nobody else can: a team that is there from the first moment, and cannot leave."""


class CaseVerb(StrEnum):
    """Everything that moves a case from one state to another, or ends a claim."""

    CLAIM = "claim"
    RELEASE = "release"
    EXPIRE = "expire"
    DROP = "drop"
    RESOLVE = "resolve"
    UNDO = "undo"
    REOPEN = "reopen"
    REASSIGN = "reassign"
    CLOSE = "close"


class Who(StrEnum):
    """Who may do a verb."""

    REVIEWER = "reviewer"
    CLAIMANT = "claimant"
    GIVER = "whoever gave the verdict, or a lead"
    SYSTEM = "system"


class ClaimEffect(StrEnum):
    """What becomes of the claim."""

    TAKE = "take"
    END = "end"
    NONE = "there is none"


class ClockEffect(StrEnum):
    """What becomes of the clocks."""

    STOP_CLAIM = "the claim clock stops"
    RESUME_CLAIM = "the claim clock goes on with its remainder"
    STOP_ALL = "all stop"
    RESTORE = "all go on as they were"
    START = "a new cycle begins"
    KEEP = "they run on"


@dataclass(frozen=True, slots=True)
class Transition:
    """From which states a verb leads where, and what it does to claim and clocks."""

    verb: CaseVerb
    sources: tuple[CaseState, ...]
    target: CaseState
    who: Who
    claim: ClaimEffect
    clocks: ClockEffect


_S, _V = CaseState, CaseVerb

TRANSITIONS: dict[CaseVerb, Transition] = {
    one.verb: one
    for one in (
        # A live claim is renewed by its claimant alone; one that has run out is anybody's.
        Transition(
            _V.CLAIM,
            (_S.OPEN, _S.CLAIMED),
            _S.CLAIMED,
            Who.REVIEWER,
            ClaimEffect.TAKE,
            ClockEffect.STOP_CLAIM,
        ),
        Transition(
            _V.RELEASE,
            (_S.CLAIMED,),
            _S.OPEN,
            Who.CLAIMANT,
            ClaimEffect.END,
            ClockEffect.RESUME_CLAIM,
        ),
        Transition(
            _V.EXPIRE,
            (_S.CLAIMED,),
            _S.OPEN,
            Who.SYSTEM,
            ClaimEffect.END,
            ClockEffect.RESUME_CLAIM,
        ),
        Transition(
            _V.DROP,
            (_S.CLAIMED,),
            _S.OPEN,
            Who.SYSTEM,
            ClaimEffect.END,
            ClockEffect.RESUME_CLAIM,
        ),
        Transition(
            _V.RESOLVE,
            (_S.CLAIMED,),
            _S.RESOLVED,
            Who.CLAIMANT,
            ClaimEffect.END,
            ClockEffect.STOP_ALL,
        ),
        Transition(
            _V.UNDO,
            (_S.RESOLVED,),
            _S.OPEN,
            Who.GIVER,
            ClaimEffect.NONE,
            ClockEffect.RESTORE,
        ),
        Transition(
            _V.REOPEN,
            (_S.RESOLVED, _S.CLOSED),
            _S.OPEN,
            Who.REVIEWER,
            ClaimEffect.NONE,
            ClockEffect.START,
        ),
        Transition(
            _V.REASSIGN,
            OPEN_STATES,
            _S.OPEN,
            Who.REVIEWER,
            ClaimEffect.END,
            ClockEffect.RESUME_CLAIM,
        ),
        Transition(
            _V.CLOSE,
            (_S.RESOLVED,),
            _S.CLOSED,
            Who.SYSTEM,
            ClaimEffect.NONE,
            ClockEffect.KEEP,
        ),
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
