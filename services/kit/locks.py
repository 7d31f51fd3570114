"""The advisory locks that Secondlook takes, each number once."""

from collections.abc import Iterable
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
    OPEN_BY_CAUSE = 0x5EC0_4D17
    GATHER_MAIL = 0x5EC0_4D18
    """These two are one for each of many things, with a number that stands for it."""


_TAKE = text("SELECT pg_advisory_xact_lock(:lock)")


def lock(session: Session, which: Lock) -> None:
    """Wait for a lock, and hold it until the transaction ends."""
    session.execute(_TAKE, {"lock": which})


_TRY = text("SELECT pg_try_advisory_xact_lock(:lock)")


def try_lock(session: Session, lock: Lock) -> bool:
    """Take a lock until the transaction ends, unless another one holds it."""
    return bool(session.execute(_TRY, {"lock": lock}).scalar_one())


_TAKE_EACH = text("""
SELECT pg_advisory_xact_lock(CAST(:lock AS integer), number) FROM (
    SELECT DISTINCT hashtext(name) AS number FROM unnest(CAST(:names AS text[])) AS g(name)
    ORDER BY number OFFSET 0) ordered
""")


def lock_each(session: Session, which: Lock, names: Iterable[str]) -> None:
    """Wait for a lock on each of these names, in an order that all keep to.

    Two names may share one, which makes the two wait for each other and no more.
    """
    given = {"lock": which, "names": list(names)}
    if given["names"]:
        session.execute(_TAKE_EACH, given)
