"""Tries to sign in: those that go wrong wait longer each time, and keep nobody out."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from services.kit.database import Database
from services.kit.errors import TooMany
from services.people import attempts
from services.people.attempts import Attempt
from tests.factories import NOON, OWNER, REP, populate

_ATTACK = Attempt(OWNER, "203.0.113.7")
_ELSEWHERE = Attempt(OWNER, "198.51.100.1")


@pytest.fixture
def session(database: Database, session: Session) -> Session:
    populate(database)
    return session


def _tries(session: Session, attempt: Attempt, count: int, now: datetime = NOON) -> list[float]:
    """How long so many tries wait that come as soon as the one before has been refused."""
    waits = []
    for _ in range(count):
        waits.append(attempts.begin(session, attempt, now=now))
        now += timedelta(seconds=waits[-1])
    return waits


def test_tries_on_one_account_from_one_place_wait_longer_each_time(session: Session) -> None:
    waits = [round(wait, 1) for wait in _tries(session, _ATTACK, 9)]
    assert waits == [0, 0, 0, 0, 0, 1, 2, 2, 2]


def test_tries_at_once_wait_for_one_another_and_are_refused_in_the_end(session: Session) -> None:
    _tries(session, _ATTACK, 5)
    waits = [attempts.begin(session, _ATTACK, now=NOON) for _ in range(25)]
    assert waits == [1 + 2 * number for number in range(25)]
    with pytest.raises(TooMany) as refused:
        attempts.begin(session, _ATTACK, now=NOON)
    assert refused.value.extra == {"retry_after": 51}
    assert attempts.begin(session, _ATTACK, now=NOON + timedelta(seconds=7)) == 44


def test_attack_from_one_place_slows_down_nobody_elsewhere(session: Session) -> None:
    for number in range(80):
        attempts.begin(session, Attempt(f"{number}@example.org", _ATTACK.network), now=NOON)
    assert attempts.begin(session, _ELSEWHERE, now=NOON) == 0
    assert attempts.begin(session, Attempt(REP, _ATTACK.network), now=NOON) == 1


def test_attack_from_everywhere_delays_the_right_password_and_does_not_refuse_it(
    session: Session,
) -> None:
    for number in range(200):
        attempts.begin(session, Attempt(OWNER, f"192.0.2.{number}"), now=NOON)
    assert attempts.begin(session, _ELSEWHERE, now=NOON) == 2


def test_browser_that_is_known_is_not_slowed_down_by_an_attack(session: Session) -> None:
    secret = attempts.remember_device(session, _ATTACK, now=NOON)
    assert secret is not None
    for number in range(200):
        attempts.begin(session, Attempt(OWNER, f"192.0.2.{number}"), now=NOON)
    known = Attempt(OWNER, "192.0.2.1", secret)
    assert attempts.begin(session, known, now=NOON) == 0
    assert attempts.remember_device(session, known, now=NOON) is None
    assert round(_tries(session, known, 5)[-1]) == 1
    of_somebody_else = Attempt(REP, "192.0.2.1", secret)
    assert attempts.remember_device(session, of_somebody_else, now=NOON) is not None


def test_right_password_makes_what_went_wrong_from_here_forgotten(session: Session) -> None:
    _tries(session, _ATTACK, 7)
    attempts.succeeded(session, _ATTACK, now=NOON)
    assert _tries(session, _ATTACK, 5) == [0] * 5


def test_quarter_of_an_hour_later_it_is_as_if_nothing_had_been(session: Session) -> None:
    _tries(session, _ATTACK, 60)
    later = NOON + timedelta(minutes=30)
    assert _tries(session, _ATTACK, 5, later) == [0] * 5
