"""Passwords and tokens."""

import hashlib
import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_hasher = PasswordHasher()


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
        return _hasher.verify(stored or _of_nobody(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _of_nobody() -> str:
    """Checked where there is no such account, so that both answers take the same time.

    Made when it is first needed, as few commands need it and it costs a tenth of a second.
    """
    return _hasher.hash(secrets.token_urlsafe(16))
