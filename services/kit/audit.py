"""The audit log: who changed what, each entry chained to the one before it by hash."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.kit.locks import Lock
from services.kit.models import AuditEntry

_FIRST = bytes(32)

# Entries form one chain, so they are written one after another; the lock ends with the
# transaction.
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")


class Broken(NamedTuple):
    """A place where the chain does not hold."""

    entry: int
    problem: str


def entry_hash(entry: AuditEntry) -> bytes:
    """SHA-256 over the entry's content and its predecessor's hash."""
    content = {
        "id": entry.id,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "verb": entry.verb,
        "object": [entry.object_kind, entry.object_id],
        "detail": _canonical(entry.detail),
    }
    return hashlib.sha256(entry.previous_hash + to_json(content)).digest()


def _canonical(value: Any) -> Any:
    """The same value with sorted keys: jsonb does not keep their order."""
    if isinstance(value, dict):
        return {key: _canonical(value[key]) for key in sorted(value)}
    return [_canonical(item) for item in value] if isinstance(value, list) else value


def record(
    session: Session,
    *,
    at: datetime,
    actor: str,
    verb: str,
    object_kind: str,
    object_id: str,
    **detail: Any,
) -> None:
    """Add an entry. `detail` must be JSON without secrets; it says what changed."""
    session.execute(_LOCK, {"key": Lock.WRITE_AUDIT})
    session.flush()
    last = session.execute(
        select(AuditEntry.id, AuditEntry.hash).order_by(AuditEntry.id.desc()).limit(1)
    ).first()
    entry = AuditEntry(
        id=(last.id if last else 0) + 1,
        at=at,
        actor=actor,
        verb=verb,
        object_kind=object_kind,
        object_id=object_id,
        detail=_as_kept(session, detail),
        previous_hash=last.hash if last else _FIRST,
    )
    entry.hash = entry_hash(entry)
    session.add(entry)
    session.flush()


def note(
    session: Session, at: datetime, actor: str, verb: str, kind: str, object_id: str, **detail: Any
) -> None:
    """Add an entry, its parts by position."""
    record(session, at=at, actor=actor, verb=verb, object_kind=kind, object_id=object_id, **detail)


_AS_KEPT = text("SELECT CAST(:detail AS jsonb)")


def _as_kept(session: Session, detail: dict[str, Any]) -> Any:
    """The detail as jsonb gives it back, which is what will be verified: -0.0 becomes 0.0."""
    return session.execute(_AS_KEPT, {"detail": to_json(detail).decode()}).scalar_one()


def verify(session: Session) -> Iterator[Broken]:
    """Walk the chain and report every place where it does not hold."""
    previous, expected = _FIRST, 1
    for entry in session.scalars(
        select(AuditEntry).order_by(AuditEntry.id).execution_options(yield_per=1000)
    ):
        if entry.id != expected:
            yield Broken(entry.id, f"entries {expected} to {entry.id - 1} are missing")
        if entry.previous_hash != previous:
            yield Broken(entry.id, "it does not follow from the entry before it")
        if entry.hash != entry_hash(entry):
            yield Broken(entry.id, "its content was changed after it was written")
        previous, expected = entry.hash, entry.id + 1


def recent(session: Session, *, before: int | None = None, limit: int = 50) -> list[AuditEntry]:
    """The newest entries first; `before` goes on from a page's last id."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return list(session.scalars(query))
