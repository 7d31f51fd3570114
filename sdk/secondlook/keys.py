"""API keys: how they are made, told apart and kept.

A key is `sl_<prefix>_<secret>_<checksum>`: eight lower-case letters and digits that name it, a
secret of 131 bits in base 62, and six characters of CRC-32 that catch a slip in copying.
"""

import hashlib
import re
import secrets
import zlib

_BASE_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH = 22
_FORM = re.compile(r"(sl_([0-9a-z]{8})_[0-9A-Za-z]{22,64})_([0-9A-Za-z]{6})", re.ASCII)


class MalformedKey(ValueError):
    """The text is no API key. The message never shows it."""


def generate() -> str:
    """A new key, from the system's source of secure random numbers."""
    name = "".join(secrets.choice(_BASE_36) for _ in range(8))
    secret = "".join(secrets.choice(_BASE_62) for _ in range(_SECRET_LENGTH))
    stem = f"sl_{name}_{secret}"
    return f"{stem}_{_checksum(stem)}"


def prefix(key: str) -> str:
    """The part that names the key and may be shown.

    Raises:
        MalformedKey: it has not the form of a key, or the checksum does not fit.
    """
    return _parse(key)


def well_formed(key: str) -> bool:
    """Whether form and checksum are right; says nothing about whether the key is live."""
    try:
        _parse(key)
    except MalformedKey:
        return False
    return True


def key_hash(key: str) -> bytes:
    """SHA-256 of the whole key: what the server stores, and what signs a gate policy."""
    return hashlib.sha256(key.encode()).digest()


def _parse(key: str) -> str:
    found = _FORM.fullmatch(key)
    if not found:
        raise MalformedKey(
            "this is no API key: a key looks like sl_<8 characters>_<secret>_<6 characters>; "
            "copy it again from where it was created"
        )
    if _checksum(found[1]) != found[3]:
        raise MalformedKey(
            f"the API key sl_{found[2]}_… is mistyped: its checksum does not fit; copy it again"
        )
    return found[2]


def _checksum(stem: str) -> str:
    number = zlib.crc32(stem.encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _BASE_62[digit] + digits
    return digits
