"""Tries to sign in: slowed down where they go wrong, and nobody is locked out by others' tries.

What somebody tries on an account from one network does not slow down others on it, and a
browser in which the person has signed in before is a place of its own. The right password is
checked within a minute, as long as no more wait than may (docs/operating.md). None of these
verbs commits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from secondlook.text import actor_id
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.kit.secrets import new_token, token_hash
from services.kit.throttle import Throttle, forgive, give_back, seconds_to_wait
from services.people import models

DEVICE_LENGTH = timedelta(days=180)
"""How long a browser is known after somebody signed in there."""

# The pages let twenty wait, who all have had their turn before a proxy gives up on the last.
_ACCOUNT_FROM_ONE_PLACE = Throttle(free=5, first=1.0, longest=2.0, patience=50.0)
_ACCOUNT = Throttle(free=20, first=0.5, longest=2.0)
_NETWORK = Throttle(free=30, first=0.25, longest=1.0)
_NAME_LENGTH = 254


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody tries the password of an account.

    `network` is where from; `device` the secret that this browser was given when somebody
    signed in there, if any.
    """

    email: str
    network: str
    device: str = ""

    @property
    def account(self) -> str:
        """The account as it is compared."""
        return actor_id(self.email)[:_NAME_LENGTH]


def begin(session: Session, attempt: Attempt, *, now: datetime) -> float:
    """Count a try; answers how many seconds it has to wait before the password is checked.

    The caller commits this before it waits, so that failures count.

    Raises:
        TooMany: others from the same place wait for the same account already.
    """
    waits = [
        _wait(session, name, throttle, now) for name, throttle in _names(session, attempt, now)
    ]
    return max(waits)


def _wait(session: Session, name: str, throttle: Throttle, now: datetime) -> float:
    return seconds_to_wait(session, name, throttle, now=now)


def succeeded(session: Session, attempt: Attempt, *, now: datetime) -> None:
    """The password was right: this try, and those before it from here, count no longer."""
    (mine, _), *others = _names(session, attempt, now)
    forgive(session, mine)
    for name, throttle in others:
        give_back(session, name, throttle)


def _names(session: Session, attempt: Attempt, now: datetime) -> list[tuple[str, Throttle]]:
    account = attempt.account
    if is_known(session, attempt, now=now):
        device = token_hash(attempt.device).hex()
        return [(f"sign-in {account} in {device}", _ACCOUNT_FROM_ONE_PLACE)]
    return [
        (f"sign-in {account} from {attempt.network}", _ACCOUNT_FROM_ONE_PLACE),
        (f"sign-in {account}", _ACCOUNT),
        (f"sign-in from {attempt.network}", _NETWORK),
    ]


def is_known(session: Session, attempt: Attempt, *, now: datetime) -> bool:
    """Whether the person has signed in before in the browser that the try comes from."""
    if not attempt.device:
        return False
    found = select(models.KnownDevice.person).where(
        models.KnownDevice.hash == token_hash(attempt.device),
        models.KnownDevice.expires_at > now,
    )
    return session.scalar(found) == attempt.account


def remember_device(session: Session, attempt: Attempt, *, now: datetime) -> str | None:
    """The secret by which this browser is known from now on; None where it is known already."""
    if is_known(session, attempt, now=now):
        return None
    secret = new_token("sld")
    session.add(
        models.KnownDevice(
            hash=token_hash(secret),
            person=attempt.account,
            created_at=now,
            expires_at=now + DEVICE_LENGTH,
        )
    )
    session.flush()
    return secret


def forget_devices(session: Session, email: str) -> None:
    """Know none of a person's browsers any more."""
    session.execute(delete(models.KnownDevice).where(models.KnownDevice.person == email))
