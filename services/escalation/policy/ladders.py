"""Ladders as a routing policy has them: who is accountable from when on, and that it ends. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

from services.escalation.policy.owning import Named, Part
from services.kit.documents import wrong
from services.kit.durations import DAY, Duration, Unit, parse_duration
from services.kit.working_time import after, weekdays

# A case that may wait longer than five years has no deadline.
_LONGEST = {
    Unit.SECONDS: Duration(5 * 366 * DAY),
    Unit.WORKING_SECONDS: Duration(5 * 262 * 8 * 3600, Unit.WORKING_SECONDS),
    Unit.WORKING_DAYS: Duration(5 * 262, Unit.WORKING_DAYS),
}


def _span(value: Any) -> Duration:
    span = value if isinstance(value, Duration) else parse_duration(str(value))
    longest = _LONGEST[span.unit]
    if span.amount > longest.amount:
        raise wrong(f"{span} is over five years", f"Write {longest} at most.")
    return span


Span = Annotated[Duration, BeforeValidator(_span)]


class Rung(Part):
    """An entry of a ladder: from `at` after the opening, `own` is accountable.

    A rung without `at` is reached by a missed deadline alone.
    """

    at: Span | None = None
    own: Named
    repeat: Span | None = None


# Days and business days are of another length from each day of the week.
_A_WEEK = [datetime(2026, 1, day, 12, tzinfo=UTC) for day in range(5, 12)]
_ANY = weekdays("UTC")


def check_ladder(name: str, ladder: Sequence[Rung]) -> None:
    """Refuse a ladder that is out of order, or may end with nobody."""
    at = ("ladders", name)
    if not ladder:
        raise wrong(f"ladder '{name}' has no rung", "Its last rung must name somebody.", *at)
    for weekday in _A_WEEK:
        moments = [after(weekday, rung.at, _ANY) for rung in ladder if rung.at is not None]
        if moments != sorted(set(moments)):
            problem = (
                f"ladder '{name}': its rungs are out of order if a case opens on a {weekday:%A}"
            )
            raise wrong(problem, "Let each rung come later than the one before it.", *at)
    _check_end(name, ladder)
    for position, rung in enumerate(ladder):
        if rung.repeat is not None:
            _check_repeat(name, position, rung, is_last=position == len(ladder) - 1)


def _check_end(name: str, ladder: Sequence[Rung]) -> None:
    last = ladder[-1].own
    if last.named is None:
        problem = f"ladder '{name}': {last}, its last rung, may be nobody at times"
        hint = "End it with a team:<slug> or user:<e-mail>."
        raise wrong(problem, hint, "ladders", name, len(ladder) - 1, "own")


def _check_repeat(name: str, position: int, rung: Rung, *, is_last: bool) -> None:
    problem = None
    if not is_last:
        problem = "only the last rung can repeat"
    elif rung.at is None:
        problem = "a rung that repeats needs `at` to begin at"
    elif rung.repeat and rung.repeat.amount == 0:
        problem = "a rung cannot repeat every 0s"
    if problem is not None:
        place = ("ladders", name, position, "repeat")
        hint = "Leave `repeat` out, or change it."
        raise wrong(f"ladder '{name}': {problem}", hint, *place)
