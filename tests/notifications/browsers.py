"""A browser as push services know it: it reads what is pushed to it, and checks who sent it."""

import base64
import json
import os
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.notifications import push
from services.people import push_devices
from services.people.push_devices import Subscription
from tests.factories import OWNER, actor_of, one


def letters(plain: bytes) -> str:
    """Bytes as browsers write them."""
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def plain(text: str) -> bytes:
    """The bytes of such letters."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as it travels."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def key_of(encoded: bytes) -> ec.EllipticCurvePublicKey:
    """The public key that travelled so."""
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encoded)


def private_key_of(text: str) -> ec.EllipticCurvePrivateKey:
    """A private key in letters."""
    return ec.derive_private_key(int.from_bytes(plain(text)), ec.SECP256R1())


@dataclass
class FakeBrowser:
    """A browser's keys; `endpoint` is where its push service listens."""

    endpoint: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    @property
    def subscription(self) -> Subscription:
        """What it answers to a page."""
        return Subscription(
            self.endpoint, letters(point(self.key.public_key())), letters(self.auth)
        )

    def read(self, body: bytes) -> bytes:
        """What was pushed, read as RFC 8291 and RFC 8188 say, in one record."""
        salt, size, length = body[:16], int.from_bytes(body[16:20]), body[20]
        theirs, sealed = body[21 : 21 + length], body[21 + length :]
        assert len(sealed) <= size
        shared = self.key.exchange(ec.ECDH(), key_of(theirs))
        about = b"WebPush: info\0" + point(self.key.public_key()) + theirs
        secret = _derived(shared, self.auth, about, 32)
        key = _derived(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _derived(secret, salt, b"Content-Encoding: nonce\0", 12)
        padded = AESGCM(key).decrypt(nonce, sealed, None)
        said, mark, rest = padded.rpartition(b"\x02")
        assert (mark, rest.strip(b"\0")) == (b"\x02", b"")
        return said


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


def claims_of(header: str, key: str) -> dict[str, Any]:
    """What a header of RFC 8292 claims, signed with this public key; it raises where it is not."""
    scheme, _, rest = header.partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    assert (scheme, parts["k"]) == ("vapid", key)
    signed, _, proof = parts["t"].rpartition(".")
    r, s = plain(proof)[:32], plain(proof)[32:]
    signature = encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
    key_of(plain(key)).verify(signature, signed.encode(), ec.ECDSA(hashes.SHA256()))
    head, claims = (json.loads(plain(part)) for part in signed.split("."))
    assert head == {"typ": "JWT", "alg": "ES256"}
    return dict(claims)


def add_device(database: Database, browser: FakeBrowser, person: str = OWNER) -> int:
    """A device as if it had been allowed; our push service has no certificate."""
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        actor = actor_of(session, person)
        push.devices_of(session, actor, now=now)
        push_devices.add(session, browser.subscription, browser="Firefox", actor=actor, now=now)
    return int(one(database, "SELECT max(id) FROM push_device"))
