"""The short form of `python -m tests.engines`."""

from collections.abc import Callable
from datetime import datetime

import pytest

from tests.engines.campaign import campaign
from tests.engines.shifts import due_after


def test_every_timer_fires_once_whatever_happens_to_engines_and_clocks(
    fresh_database: Callable[[], str],
) -> None:
    with campaign(fresh_database(), size=160, freeze=2.0, changes=1, every=0.2) as opened:
        found = opened.run()
    assert (found.missed, found.doubled, found.displaced, found.breached) == (0, 0, 0, 0)
    assert found.timers >= 160
    assert found.sound, (found.p99, found.late[-1])


@pytest.mark.parametrize(
    ("opened", "zone", "due"),
    [
        # Berlin's night of 29 March has three hours, that of 25 October five.
        ("2026-03-29T00:30+00:00", "Europe/Berlin", "2026-03-29T22:30+00:00"),
        ("2026-10-25T00:30+00:00", "Europe/Berlin", "2026-10-25T02:30+00:00"),
        ("2026-03-08T06:30+00:00", "America/New_York", "2026-03-09T04:30+00:00"),
        ("2026-11-01T05:30+00:00", "America/New_York", "2026-11-01T07:30+00:00"),
        ("2026-04-04T15:30+00:00", "Australia/Sydney", "2026-04-04T17:30+00:00"),
        ("2026-10-03T15:30+00:00", "Australia/Sydney", "2026-10-04T13:30+00:00"),
    ],
)
def test_two_hours_of_a_night_shift_are_what_one_counts_by_hand(
    opened: str, zone: str, due: str
) -> None:
    assert due_after(datetime.fromisoformat(opened), 2, zone) == datetime.fromisoformat(due)
