"""Keys of tools. None of these verbs commits."""

from datetime import datetime

from secondlook import keys
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.errors import NotFound
from services.people.rules import Actor, Verb
from services.tools import models
from services.tools.errors import TwoKeysLive


def create_key(session: Session, tool: str, *, actor: Actor, now: datetime) -> str:
    """Make a key for a tool and return it; it cannot be read again.

    Raises:
        NotAllowed: the actor does not manage tools.
        NotFound: there is no such tool.
        TwoKeysLive: revoke one first.
    """
    actor.require(Verb.MANAGE_TOOLS)
    if session.get(models.Tool, tool, with_for_update=True) is None:
        raise NotFound(f"There is no tool '{tool}'.")
    taken = set(
        session.scalars(
            select(models.ApiKey.slot).where(
                models.ApiKey.tool == tool, models.ApiKey.revoked_at.is_(None)
            )
        )
    )
    free = {1, 2} - taken
    if not free:
        raise TwoKeysLive(f"'{tool}' has two live keys; revoke the one that is no longer used.")
    key = keys.generate()
    session.add(
        models.ApiKey(
            prefix=keys.prefix(key),
            tool=tool,
            slot=min(free),
            hash=keys.key_hash(key),
            created_at=now,
            actor=actor.id,
        )
    )
    session.flush()
    note(session, now, actor.id, "create", "key", keys.prefix(key), tool=tool)
    return key


def revoke_key(session: Session, prefix: str, *, actor: Actor, now: datetime) -> None:
    """Revoke a key; the tool is refused within a second.

    Raises:
        NotAllowed: the actor does not manage tools.
        NotFound: there is no live key of that prefix.
    """
    actor.require(Verb.MANAGE_TOOLS)
    revoked = session.execute(
        update(models.ApiKey)
        .where(models.ApiKey.prefix == prefix, models.ApiKey.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(models.ApiKey.tool)
    ).scalar_one_or_none()
    if revoked is None:
        raise NotFound(f"There is no live key '{prefix}'.")
    note(session, now, actor.id, "revoke", "key", prefix, tool=revoked)


def tool_of_key(session: Session, key: str) -> tuple[str, bytes] | None:
    """The tool that a live key belongs to and the key's hash, or None."""
    if not keys.well_formed(key):
        return None
    hashed = keys.key_hash(key)
    tool = session.execute(
        select(models.ApiKey.tool).where(
            models.ApiKey.prefix == keys.prefix(key),
            models.ApiKey.hash == hashed,
            models.ApiKey.revoked_at.is_(None),
        )
    ).scalar_one_or_none()
    return (tool, hashed) if tool is not None else None
