"""What people answer for: whoever changes people or schedules says so here, around the change."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import Session

from services.people.rules import Actor, Role


@dataclass(frozen=True, slots=True)
class PersonChange:
    """What is to become of a person; None leaves as it is."""

    email: str
    role: Role | None
    teams: tuple[str, ...] | None
    active: bool | None
    actor: Actor
    now: datetime


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """Somebody else may be there, or on duty, from now on."""

    now: datetime
    schedules: frozenset[str] = frozenset()
    """Which are said anew."""
    people: frozenset[str] = frozenset()
    """Who goes or comes, and who stands in: held by this transaction alone."""


@dataclass(frozen=True, slots=True)
class TeamRemoval:
    """A team is there no more."""

    team: str
    actor: Actor
    now: datetime


Change = PersonChange | PresenceChange | TeamRemoval


class Duty(Protocol):
    """Something that people answer for, and that must not be left to nobody."""

    def kept(self, session: Session, change: Change) -> AbstractContextManager[int]:
        """Around a change: hand over before or after it, answer how much went before it, and
        refuse after it what would be left to nobody."""
        ...


@contextmanager
def keeping(session: Session, duties: Sequence[Duty], change: Change) -> Iterator[int]:
    """Around a change, all of these duties are kept; answers how much was handed over before."""
    with ExitStack() as stack:
        yield sum([stack.enter_context(duty.kept(session, change)) for duty in duties])
