"""Passwords, tokens and the bucket that slows down guessing."""

import hashlib
import secrets
from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.database import affected

_hasher = PasswordHasher()
# Checked where there is no such account, so that both answers take the same time.
_NOBODY = _hasher.hash(secrets.token_urlsafe(16))


def new_token(prefix: str) -> str:
    """A fresh secret of 256 random bits, with a prefix that says what it is for."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> bytes:
    """What is kept of a token: SHA-256 is enough for a secret that cannot be guessed."""
    return hashlib.sha256(token.encode()).digest()


def hash_password(password: str) -> str:
    """Argon2id with the library's present defaults; a password is a person's to choose."""
    return _hasher.hash(password)


def password_matches(stored: str | None, password: str) -> bool:
    """Whether `password` is the one that was hashed. Takes as long where nothing is stored."""
    try:
        return _hasher.verify(stored or _NOBODY, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


_TAKE = text("""
INSERT INTO rate_bucket AS b (name, tokens, refilled_at) VALUES (:name, :size - 1, :now)
ON CONFLICT (name) DO UPDATE SET
    tokens = least(:size, b.tokens + extract(epoch FROM :now - b.refilled_at) * :per_second) - 1,
    refilled_at = :now
WHERE least(:size, b.tokens + extract(epoch FROM :now - b.refilled_at) * :per_second) >= 1
""")


def take_token(session: Session, name: str, *, now: datetime, size: int, per_minute: float) -> bool:
    """Take one token from the bucket `name`; False when it is empty.

    A bucket holds `size` tokens and regains `per_minute` of them a minute.
    """
    taken = session.execute(
        _TAKE, {"name": name, "now": now, "size": size, "per_second": per_minute / 60}
    )
    return bool(affected(taken))


# A bucket that nobody has taken from for a day is full again, and no bucket says the same.
_FORGET = text("""
DELETE FROM rate_bucket WHERE name IN (
    SELECT name FROM rate_bucket WHERE refilled_at < :now - interval '1 day' LIMIT :limit)
""")


def forget_full_buckets(session: Session, *, now: datetime, limit: int) -> int:
    """Remove up to `limit` buckets that are surely full; answers how many."""
    return affected(session.execute(_FORGET, {"now": now, "limit": limit}))
