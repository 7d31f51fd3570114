"""Web push: one line for one browser, which alone can read it.

What is pushed is encrypted as RFC 8291 has it, and signed with the installation's own key (VAPID,
RFC 8292): the browser's maker, whose push service hands it on, learns who is told and when.
"""

import base64
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from hashlib import blake2b
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import BaseModel, ConfigDict

from services.notifications import destinations
from services.notifications.channels.http import Poster
from services.notifications.channels.message import Message
from services.notifications.channels.outcome import Outcome, Result, outcome
from services.people.push_devices import Device

AUTH_BYTES = 16
KEPT = timedelta(days=1)
"""So long a push service keeps it for a device that is off."""
_SIGNED_FOR = timedelta(hours=12)
"""A day is the most that push services take."""
_GONE = frozenset({404, 410})
_COORDINATE = 32
_SALT_BYTES = 16
_RECORD_SIZE = 4096
_LAST_RECORD = b"\x02"
_TOPIC_BYTES = 16


class Notice(BaseModel):
    """What a device shows, and the path that a click on it opens."""

    model_config = ConfigDict(frozen=True)

    text: str
    path: str
    urgent: bool = False

    @property
    def topic(self) -> str:
        """What is about the same page replaces what the device was not shown yet, or shows."""
        return _encoded(blake2b(self.path.encode(), digest_size=_TOPIC_BYTES).digest())


def notice_of(message: Message, *, urgent: bool) -> Notice:
    """A message in one line; several things are in the inbox."""
    alone = message.lines[0].path if len(message.lines) == 1 else None
    return Notice(text=message.subject, path=alone or "/inbox", urgent=urgent)


# --- keys ---------------------------------------------------------------------------------


class KeyPair(NamedTuple):
    """A private key and its public one, in the letters in which browsers write them."""

    private: str
    public: str


def new_key_pair() -> KeyPair:
    """A fresh pair."""
    key = ec.generate_private_key(ec.SECP256R1())
    number = key.private_numbers().private_value
    return KeyPair(_encoded(number.to_bytes(_COORDINATE)), _encoded(_point(key.public_key())))


def decoded(letters: str) -> bytes:
    """The bytes that base64url stands for, with or without its padding.

    Raises:
        ValueError: it is none.
    """
    plain = letters.rstrip("=")
    padded = plain + "=" * (-len(plain) % 4)
    return base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)


def public_key(letters: str) -> ec.EllipticCurvePublicKey:
    """A browser's public key.

    Raises:
        ValueError: it is none.
    """
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(letters))


def _private_key(letters: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(decoded(letters)), ec.SECP256R1())


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _encoded(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


# --- what leaves --------------------------------------------------------------------------


def encrypt(
    plain: bytes,
    *,
    p256dh: str,
    auth: str,
    ours: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """A body that the owner of `p256dh` and `auth` alone can read.

    The pair of keys and the salt are fresh for each; the standard's example gives its own.

    Raises:
        ValueError: the browser's keys are none.
    """
    theirs = public_key(p256dh)
    ours = ours or ec.generate_private_key(ec.SECP256R1())
    salt = salt or os.urandom(_SALT_BYTES)
    mine = _point(ours.public_key())
    shared = ours.exchange(ec.ECDH(), theirs)
    about = b"WebPush: info\0" + _point(theirs) + mine
    secret = _derive(shared, salt=decoded(auth), info=about, length=32)
    key = _derive(secret, salt=salt, info=b"Content-Encoding: aes128gcm\0", length=16)
    nonce = _derive(secret, salt=salt, info=b"Content-Encoding: nonce\0", length=12)
    head = salt + _RECORD_SIZE.to_bytes(4) + len(mine).to_bytes(1) + mine
    return head + AESGCM(key).encrypt(nonce, plain + _LAST_RECORD, None)


def _derive(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


def signature(private: str, *, endpoint: str, contact: str, at: datetime) -> str:
    """The header by which a push service knows this installation, and whom to write to.

    Raises:
        InvalidInput: the endpoint is no web address.
    """
    target = destinations.parse(endpoint)
    claims = {
        "aud": f"{target.scheme}://{target.authority}",
        "exp": int((at + _SIGNED_FOR).timestamp()),
        "sub": f"mailto:{contact}",
    }
    key = _private_key(private)
    signed = f"{_part({'typ': 'JWT', 'alg': 'ES256'})}.{_part(claims)}"
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    proof = _encoded(r.to_bytes(_COORDINATE) + s.to_bytes(_COORDINATE))
    return f"vapid t={signed}.{proof}, k={_encoded(_point(key.public_key()))}"


def _part(claims: Mapping[str, object]) -> str:
    return _encoded(json.dumps(claims, separators=(",", ":")).encode())


class PushChannel:
    """Hands lines to push services."""

    def __init__(self, poster: Poster, sender: str) -> None:
        """`sender` is who mails are from: push services write there where something is wrong."""
        self._poster, self._contact = poster, parseaddr(sender)[1]

    async def send(
        self, device: Device | None, message_id: str, payload: str, private: str
    ) -> Outcome:
        """Push one notice to one device."""
        if device is None:
            return outcome(Result.NEVER, "the device was removed")
        notice = Notice.model_validate_json(payload)
        shown = {"id": message_id, "text": notice.text, "path": notice.path, "tag": notice.topic}
        body = encrypt(json.dumps(shown).encode(), p256dh=device.p256dh, auth=device.auth)
        headers = self._headers(device, notice, private)
        return await self._poster.post(device.endpoint, body, headers, gone=_GONE)

    def _headers(self, device: Device, notice: Notice, private: str) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "authorization": signature(
                private, endpoint=device.endpoint, contact=self._contact, at=now
            ),
            "content-encoding": "aes128gcm",
            "content-type": "application/octet-stream",
            "ttl": str(int(KEPT.total_seconds())),
            "topic": notice.topic,
            "urgency": "high" if notice.urgent else "normal",
        }
