"""Idempotency keys: a write sent twice is done once and answered twice."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.kit.database import affected
from services.kit.errors import Conflict, InvalidInput, Problem
from services.kit.models import IdempotencyKey

_KEY_BYTES = 200


def request_digest(*parts: Any) -> bytes:
    """What makes two requests the same request."""
    return hashlib.sha256(to_json(parts)).digest()


def require_key(key: str) -> None:
    """Refuse what tells no requests apart, or is too long to keep.

    Raises:
        InvalidInput: naming the header.
    """
    if not 0 < len(key.encode()) <= _KEY_BYTES or not key.isprintable():
        found = Problem("/Idempotency-Key", "it is no key", "Send 1 to 200 printable characters.")
        raise InvalidInput("The Idempotency-Key cannot be used.", problems=(found,))


def once(
    session: Session, *, actor: str, key: str | None, digest: bytes, do: Callable[[], Any]
) -> Any:
    """Run `do` and keep its answer (JSON), or answer what it gave under this key before.

    Without a key it just runs. The key's row is the lock that keeps a second, concurrent
    request waiting for the first one's answer; it is part of the caller's transaction.

    Raises:
        Conflict: the key was used for another request.
        InvalidInput: the key is no key.
    """
    if key is None:
        return do()
    require_key(key)
    row = {"actor": actor, "key": key, "request_digest": digest, "status": 0, "body": {}}
    statement = insert(IdempotencyKey).values(row).on_conflict_do_nothing()
    if session.execute(statement.returning(IdempotencyKey.key)).first() is None:
        return _saved(session, actor, key, digest)
    answer = do()
    saved = session.get_one(IdempotencyKey, (actor, key))
    saved.status, saved.body = 1, {"answer": _as_json(answer)}
    session.flush()
    return answer


def _saved(session: Session, actor: str, key: str, digest: bytes) -> Any:
    saved = session.get_one(IdempotencyKey, (actor, key))
    if saved.request_digest != digest:
        raise Conflict("This Idempotency-Key was used for another request; take a new one.")
    return saved.body["answer"]


def _as_json(answer: Any) -> Any:
    return from_json(to_json(answer))


_FORGET = text("""
DELETE FROM idempotency_key WHERE (actor, key) IN (
    SELECT actor, key FROM idempotency_key
    WHERE created_at < :before ORDER BY created_at LIMIT :limit)
""")


def forget(session: Session, *, before: datetime, limit: int) -> int:
    """Remove up to `limit` of the answers saved before `before`; answers how many."""
    return affected(session.execute(_FORGET, {"before": before, "limit": limit}))
