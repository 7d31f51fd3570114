"""What can be done with dead letters: read, retry, discard. Each act leaves an audit entry."""

from datetime import datetime
from typing import Any

from services.kit.audit import note
from services.kit.consuming import dead_letters
from services.kit.errors import NotAllowed, NotFound
from services.people.rules import Actor, Role
from services.tools import queries as tool_queries

_ROLES = frozenset({Role.ADMIN, Role.OPS})
_PAGES_SCANNED = 40


def may_handle(actor: Actor) -> bool:
    """Whether this person looks after dead letters."""
    return actor.role in _ROLES


def require_handler(actor: Actor) -> None:
    """Refuse everybody else.

    Raises:
        NotAllowed: the role does not look after dead letters.
    """
    if not may_handle(actor):
        raise NotAllowed(f"Your role, {actor.role}, does not look after dead letters.")


def waiting(
    session: Any, actor: Actor, *, after: int, limit: int, everything: bool
) -> tuple[list[Any], int | None]:
    """Dead letters in the actor's sight, the oldest first, and where the list goes on.

    Of a few thousand at once: those of others are passed over, and there may be very many.
    """
    tools = {tool.slug for tool in tool_queries.visible_tools(session, actor)}
    found: list[Any] = []
    for _ in range(_PAGES_SCANNED):
        page = dead_letters.waiting(session, everything=everything, after=after, limit=limit)
        for row in page:
            after = row.id
            if _in_sight(actor, row, tools):
                found.append(row)
            if len(found) == limit:
                return found, after
        if len(page) < limit:
            return found, None
    return found, after


def one(session: Any, actor: Actor, number: int) -> Any:
    """One dead letter in the actor's sight.

    Raises:
        NotFound: there is none, or it is of another team's tool.
    """
    found = dead_letters.one(session, number) if 0 < number < 2**63 else None
    tools = {tool.slug for tool in tool_queries.visible_tools(session, actor)}
    if found is None or not _in_sight(actor, found, tools):
        raise NotFound(f"There is no dead letter {number}.")
    return found


def _in_sight(actor: Actor, row: Any, tools: set[str]) -> bool:
    """Whether the actor's teams have to do with it; what names no tool is for admins."""
    return actor.sees_all_teams or row.tool in tools


def retry(session: Any, actor: Actor, number: int, *, now: datetime) -> None:
    """Send it again, as it came.

    Raises:
        NotFound: it is not in sight, or waits no longer.
    """
    one(session, actor, number)
    dead_letters.retry(session, number, now=now)
    note(session, now, actor.id, "retry", "dead letter", str(number))


def discard(session: Any, actor: Actor, number: int, *, reason: str, now: datetime) -> None:
    """Decide that it is never going to be used, and why.

    Raises:
        NotFound: it is not in sight, or waits no longer.
        InvalidInput: there is no reason.
    """
    one(session, actor, number)
    dead_letters.discard(session, number, reason=reason, actor=actor.id, now=now)
    note(session, now, actor.id, "discard", "dead letter", str(number), reason=reason)
