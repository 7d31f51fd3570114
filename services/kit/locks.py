"""The advisory locks that Secondlook takes, each number once."""

from enum import IntEnum

from sqlalchemy import text
from sqlalchemy.orm import Session


class Lock(IntEnum):
    """What only one transaction at a time may do. Held until it ends."""

    MIGRATE = 0x5EC0_4D10
    WRITE_AUDIT = 0x5EC0_4D11
    CLAIM_OUTBOX = 0x5EC0_4D12
    MAKE_TOPICS = 0x5EC0_4D13
    LEAVE_AS_ADMIN = 0x5EC0_4D14
    PURGE = 0x5EC0_4D15
    PUT_ROUTING = 0x5EC0_4D16


_TAKE = text("SELECT pg_advisory_xact_lock(:lock)")


def lock(session: Session, which: Lock) -> None:
    """Wait for a lock, and hold it until the transaction ends."""
    session.execute(_TAKE, {"lock": which})


_TRY = text("SELECT pg_try_advisory_xact_lock(:lock)")


def try_lock(session: Session, lock: Lock) -> bool:
    """Take a lock until the transaction ends, unless another one holds it."""
    return bool(session.execute(_TRY, {"lock": lock}).scalar_one())
