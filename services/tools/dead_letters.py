"""What people do with dead letters: read, retry, discard. Each act leaves an audit entry.

The kit keeps them and knows nobody; who may handle one goes by its tool.
"""

from datetime import datetime

from secondlook.text import identifier

from services.kit.audit import note
from services.kit.consuming import dead_letters
from services.kit.consuming.dead_letters import Matching
from services.kit.database import Session
from services.kit.errors import NotFound
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries

# Their bytes are read to be sent again, a MiB each at most.
_AT_ONCE = 100


def waiting(
    session: Session, actor: Actor, *, after: int, limit: int, everything: bool
) -> list[dead_letters.DeadLetterListed]:
    """Dead letters in the actor's sight, the oldest first.

    Raises:
        NotAllowed: the role does not look after dead letters.
    """
    actor.require(Verb.HANDLE_DEAD_LETTERS)
    return dead_letters.waiting(
        session,
        everything=everything,
        tools=_tools_in_sight(session, actor),
        after=after,
        limit=limit,
    )


def one(session: Session, actor: Actor, number: int) -> dead_letters.DeadLetterRow:
    """One dead letter in the actor's sight; what names no tool is for those who see all teams.

    Raises:
        NotAllowed: the role does not look after dead letters.
        NotFound: there is none, or it is of another team's tool.
    """
    actor.require(Verb.HANDLE_DEAD_LETTERS)
    found = dead_letters.one(session, number) if 0 < number < 2**63 else None
    tools = _tools_in_sight(session, actor)
    if found is None or (tools is not None and found.tool not in tools):
        raise NotFound(f"There is no dead letter {number}.")
    return found


def _tools_in_sight(session: Session, actor: Actor) -> set[str] | None:
    """The tools whose dead letters the actor sees; None for those who see all, also of none."""
    if actor.sees_all_teams:
        return None
    return {tool.slug for tool in tool_queries.visible_tools(session, actor)}


def retry(session: Session, actor: Actor, *numbers: int, now: datetime) -> None:
    """Send them again, as they came.

    Raises:
        NotAllowed: the role does not look after dead letters.
        NotFound: one is not in sight, or waits no longer.
    """
    for number in numbers:
        one(session, actor, number)
    dead_letters.retry(session, *numbers, now=now)
    for number in numbers:
        note(session, now, actor.id, "retry", "dead letter", str(number))


def discard(session: Session, actor: Actor, *numbers: int, reason: str, now: datetime) -> None:
    """Decide that they are never going to be used, and why.

    Raises:
        NotAllowed: the role does not look after dead letters.
        NotFound: one is not in sight, or waits no longer.
        InvalidInput: there is no reason.
    """
    for number in numbers:
        one(session, actor, number)
    said = identifier(reason)
    dead_letters.discard(session, *numbers, reason=said, actor=actor.id, now=now)
    for number in numbers:
        note(session, now, actor.id, "discard", "dead letter", str(number), reason=said)


def match(
    session: Session, actor: Actor, *, tool: str | None = None, reason: str | None = None
) -> Matching:
    """What waits at this moment of a tool, with a reason, or both; else all.

    Raises:
        NotAllowed: the role does not look after dead letters.
    """
    actor.require(Verb.HANDLE_DEAD_LETTERS)
    return Matching(tool, reason, dead_letters.newest(session))


def retry_matching(session: Session, actor: Actor, which: Matching, *, now: datetime) -> list[int]:
    """Send the first of those in sight again; answers their numbers, none where none is left.

    Raises:
        NotAllowed: the role does not look after dead letters.
    """
    numbers = _some_matching(session, actor, which)
    if numbers:
        dead_letters.retry(session, *numbers, now=now)
        _note_matching(session, actor, "retry", which, numbers, now=now)
    return numbers


def discard_matching(
    session: Session, actor: Actor, which: Matching, *, reason: str, now: datetime
) -> list[int]:
    """Decide of the first of those in sight that they are never used; answers their numbers.

    Raises:
        NotAllowed: the role does not look after dead letters.
        InvalidInput: there is no reason.
    """
    numbers = _some_matching(session, actor, which)
    said = identifier(reason)
    # With none left, too, it says that the reason cannot be used.
    dead_letters.discard(session, *numbers, reason=said, actor=actor.id, now=now)
    if numbers:
        _note_matching(session, actor, "discard", which, numbers, now=now, why=said)
    return numbers


def _some_matching(session: Session, actor: Actor, which: Matching) -> list[int]:
    actor.require(Verb.HANDLE_DEAD_LETTERS)
    tools = _tools_in_sight(session, actor)
    return dead_letters.matching(session, which, tools=tools, limit=_AT_ONCE)


def _note_matching(
    session: Session,
    actor: Actor,
    verb: str,
    which: Matching,
    numbers: list[int],
    *,
    now: datetime,
    **said: str,
) -> None:
    """One entry with all the numbers: an entry for each would take the log for itself."""
    detail = {"tool": which.tool, "reason": which.reason, "numbers": numbers, **said}
    place = f"{numbers[0]} to {numbers[-1]}"
    note(session, now, actor.id, verb, "dead letters", place, **detail)
