"""When the time that a wall clock tells is believed: while it goes on as a steady clock does. Pure.

A steady clock counts the seconds that pass, and nobody sets it. From a moment that both told
together follows what the wall clock should say at any later one. Times are moments in UTC, so
summer time is nothing here.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

LIMIT = timedelta(seconds=60)
"""A wall clock that is further than this from where it should be has been moved."""
EVEN = timedelta(seconds=5)
"""A clock that was moved goes on evenly while it keeps as close as this to its new place."""
_DRIFT = 0.001
# Clocks are not equally fast, and services that keep them right let them run up to a two-thousandth
# faster or slower. Believing every small step at once would let many of them add up to an hour.


class Reading(NamedTuple):
    """What a wall clock told, and what the steady clock did just before and just after that.

    A process may be held up in between: then all that is known is that it was one of those times.
    """

    wall: datetime
    before: float
    after: float

    @property
    def vague(self) -> bool:
        """Whether the two were read too far apart to keep what is judged by them."""
        return timedelta(seconds=self.after - self.before) > EVEN


class Standing(NamedTuple):
    """What is known of a wall clock.

    Attributes:
        wall: what it told, or should have told, at `steady`.
        steady: when it was last believed, by the steady clock.
        divergence: how far from there it was when it was last looked at; ahead is more than 0.
        even_since: since when, by the steady clock, it has gone on evenly from the place to which
            it was moved; None while it is believed.
        confirmed: somebody has said that it is right where it is.
    """

    wall: datetime
    steady: float
    divergence: timedelta = timedelta()
    even_since: float | None = None
    confirmed: bool = False

    @property
    def believed(self) -> bool:
        """Whether what is due may be decided by it."""
        return self.even_since is None


def judge(standing: Standing | None, reading: Reading, *, confirm_after: float) -> Standing:
    """How the wall clock stands after another reading.

    The first one is believed. One that was moved is believed again once it is back, once somebody
    has confirmed it, or after it has gone on evenly for `confirm_after` seconds.
    """
    fresh = Standing(reading.wall, reading.after)
    if standing is None or standing.confirmed:
        return fresh
    moved = _nearest(standing, reading, timedelta())
    if abs(moved) <= LIMIT:
        return _followed(standing, reading, moved)
    since = standing.even_since
    at = _nearest(standing, reading, standing.divergence)
    if since is None or abs(at - standing.divergence) > EVEN:
        standing = standing._replace(divergence=moved, even_since=reading.after)
        since = reading.after
    return fresh if reading.after - since >= confirm_after else standing


def _nearest(standing: Standing, reading: Reading, to: timedelta) -> timedelta:
    """The divergence that is nearest to one, of all that a reading leaves open."""
    least, most = (
        reading.wall - standing.wall - timedelta(seconds=steady - standing.steady)
        for steady in (reading.after, reading.before)
    )
    return max(least, min(most, to))


def _followed(standing: Standing, reading: Reading, moved: timedelta) -> Standing:
    """As much nearer to the wall clock as clocks drift apart in the time that has passed."""
    passed = timedelta(seconds=max(0.0, reading.after - standing.steady))
    drift = max(-passed * _DRIFT, min(passed * _DRIFT, moved))
    return Standing(standing.wall + passed + drift, reading.after, moved - drift)
