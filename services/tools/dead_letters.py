"""What people do with dead letters: read, retry, discard. Each act leaves an audit entry.

The kit keeps them and knows nobody; who may handle one goes by its tool.
"""

from datetime import datetime

from secondlook.text import identifier

from services.kit.audit import note
from services.kit.consuming import dead_letters
from services.kit.database import Session
from services.kit.errors import NotFound
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries


def waiting(
    session: Session, actor: Actor, *, after: int, limit: int, everything: bool
) -> list[dead_letters.DeadLetterListed]:
    """Dead letters in the actor's sight, the oldest first.

    Raises:
        NotAllowed: the role does not look after dead letters.
    """
    actor.require(Verb.HANDLE_DEAD_LETTERS)
    tools = None if actor.sees_all_teams else _tools_in_sight(session, actor)
    return dead_letters.waiting(
        session, everything=everything, tools=tools, after=after, limit=limit
    )


def one(session: Session, actor: Actor, number: int) -> dead_letters.DeadLetterRow:
    """One dead letter in the actor's sight; what names no tool is for those who see all teams.

    Raises:
        NotAllowed: the role does not look after dead letters.
        NotFound: there is none, or it is of another team's tool.
    """
    actor.require(Verb.HANDLE_DEAD_LETTERS)
    found = dead_letters.one(session, number) if 0 < number < 2**63 else None
    in_sight = found is not None and (
        actor.sees_all_teams or found.tool in _tools_in_sight(session, actor)
    )
    if found is None or not in_sight:
        raise NotFound(f"There is no dead letter {number}.")
    return found


def _tools_in_sight(session: Session, actor: Actor) -> set[str]:
    return {tool.slug for tool in tool_queries.visible_tools(session, actor)}


def retry(session: Session, actor: Actor, number: int, *, now: datetime) -> None:
    """Send it again, as it came.

    Raises:
        NotAllowed: the role does not look after dead letters.
        NotFound: it is not in sight, or waits no longer.
    """
    one(session, actor, number)
    dead_letters.retry(session, number, now=now)
    note(session, now, actor.id, "retry", "dead letter", str(number))


def discard(session: Session, actor: Actor, number: int, *, reason: str, now: datetime) -> None:
    """Decide that it is never going to be used, and why.

    Raises:
        NotAllowed: the role does not look after dead letters.
        NotFound: it is not in sight, or waits no longer.
        InvalidInput: there is no reason.
    """
    one(session, actor, number)
    said = identifier(reason)
    dead_letters.discard(session, number, reason=said, actor=actor.id, now=now)
    note(session, now, actor.id, "discard", "dead letter", str(number), reason=said)
