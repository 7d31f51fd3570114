"""Rates and series from the counts that other packages keep. Reads only."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from services.feedback import queries as feedback
from services.insight.rules import (
    COVERAGE,
    EXCEPTION_RATE,
    OVERRIDE_RATE,
    Ratio,
)
from services.kit import counts
from services.kit.counts import hour_of
from services.tools.queries import ToolInfo

WINDOW = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a tool, in UTC."""

    day: datetime
    exception_rate: Ratio
    override_rate: Ratio
    coverage: Ratio


@dataclass(frozen=True, slots=True)
class Rates:
    """A tool's rates over one window; of one version, by its number, or of all."""

    tool: str
    version: int | None
    exception_rate: Ratio
    override_rate: Ratio
    coverage: Ratio


def rates(
    session: Session,
    tool: ToolInfo,
    *,
    now: datetime,
    window: timedelta = WINDOW,
    version: int | None = None,
) -> Rates:
    """The tool's rates over the window that ends now.

    The override rate's window ends where outputs are old enough for their truth to count.
    """
    since = hour_of(now - window)
    outputs = _by_label(session, "outputs", tool.slug, since, now, version)
    exceptions = _by_label(session, "exceptions", tool.slug, since, now, version)
    everything = outputs.total()
    cutoff = tool.cutoff(now)
    matured, overridden = matured_in(session, tool, since=since, now=now, version=version)
    return Rates(
        tool.slug,
        version,
        Ratio.of(exceptions.total(), everything, EXCEPTION_RATE, since=since, until=now),
        Ratio.of(overridden.total(), matured.total(), OVERRIDE_RATE, since=since, until=cutoff),
        Ratio.of(outputs["proceed"], everything, COVERAGE, since=since, until=now),
    )


def _by_label(
    session: Session, measure: str, tool: str, since: datetime, until: datetime, version: int | None
) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in _hours(session, measure, tool, since, until):
        if version is None or row.version == version:
            found[row.label] += row.n
    return found


Labelled = Counter[tuple[int, str]]
"""Counts by (number of the version, disposition)."""


def matured_in(
    session: Session, tool: ToolInfo, *, since: datetime, now: datetime, version: int | None = None
) -> tuple[Labelled, Labelled]:
    """Matured outputs recorded since `since`, and the overridden among them.

    An output matures when it is as old as the tool's maturity. Full hours come from the
    hourly counts; the hour that the cutoff lies in is counted from the outputs.
    """
    cutoff = tool.cutoff(now)
    begun = hour_of(cutoff) if tool.maturity_seconds else now
    outputs = _hourly(session, "outputs", tool.slug, since, begun)
    overridden = _hourly(session, "overridden", tool.slug, since, begun)
    overridden.subtract(_hourly(session, "overrides_withdrawn", tool.slug, since, begun))
    if tool.maturity_seconds and cutoff > since:
        just_before = begun - timedelta(microseconds=1)
        until = cutoff + timedelta(microseconds=1)
        for part in feedback.recorded_between(session, tool.slug, after=just_before, before=until):
            outputs[part.version, part.disposition] += part.outputs
            overridden[part.version, part.disposition] += part.overridden
    return _of_version(outputs, version), _of_version(overridden, version)


def _hourly(
    session: Session, measure: str, tool: str, since: datetime, until: datetime
) -> Labelled:
    found: Labelled = Counter()
    for row in _hours(session, measure, tool, since, until):
        found[row.version, row.label] += row.n
    return found


def _hours(
    session: Session, measure: str, tool: str, since: datetime, until: datetime
) -> list[counts.Hourly]:
    """A measure hour by hour."""
    return counts.hours(session, measure, tool, since=since, until=until)


def _of_version(found: Labelled, version: int | None) -> Labelled:
    if version is None:
        return found
    return Counter({key: n for key, n in found.items() if key[0] == version})


def matured_totals(
    session: Session, tool: ToolInfo, *, now: datetime
) -> tuple[Labelled, Labelled, Labelled]:
    """All matured outputs of a tool, the overrides counted among them, and those withdrawn.

    They are the totals less what is not mature yet: the outputs recorded since the cutoff.
    """
    totals: dict[str, Labelled] = {measure: Counter() for measure in _TRUTH}
    for row in counts.totals(session):
        if row.tool == tool.slug and row.measure in totals:
            totals[row.measure][row.version, row.label] += row.n
    if tool.maturity_seconds:
        _leave_out_young(session, tool, totals, now)
    return totals["outputs"], totals["overridden"], totals["overrides_withdrawn"]


_TRUTH = ("outputs", "overridden", "overrides_withdrawn")


def _leave_out_young(
    session: Session, tool: ToolInfo, totals: dict[str, Labelled], now: datetime
) -> None:
    """Take from `totals` what was recorded after the cutoff."""
    cutoff = tool.cutoff(now)
    next_hour = hour_of(cutoff) + timedelta(hours=1)
    for measure in _TRUTH:
        totals[measure].subtract(_hourly(session, measure, tool.slug, next_hour, now + _HOUR))
    for part in feedback.recorded_between(session, tool.slug, after=cutoff, before=next_hour):
        totals["outputs"][part.version, part.disposition] -= part.outputs
        totals["overridden"][part.version, part.disposition] -= part.overridden


_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Use:
    """What a version was used for in the last 28 days."""

    last: tuple[datetime, int]
    """The last day with outputs, and how many it had."""
    coverage: float


def use_by_version(session: Session, tool: ToolInfo, *, now: datetime) -> dict[int, Use]:
    """The use of each version with outputs in the last 28 days."""
    days: dict[int, Counter[datetime]] = defaultdict(Counter)
    proceeded: Counter[int] = Counter()
    for row in _hours(session, "outputs", tool.slug, hour_of(now - WINDOW), now + _HOUR):
        days[row.version][row.hour.replace(hour=0)] += row.n
        proceeded[row.version] += row.n if row.label == "proceed" else 0
    return {
        version: Use(max(found.items()), proceeded[version] / found.total())
        for version, found in days.items()
    }


def daily(session: Session, tool: ToolInfo, *, now: datetime, days: int = 28) -> list[Day]:
    """The last `days` days, today last, days without outputs included."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=days - 1)
    cutoff = tool.cutoff(now)
    sums: dict[datetime, Counter[str]] = defaultdict(Counter)
    for measure in ("outputs", "exceptions", "overridden", "overrides_withdrawn"):
        for row in _hours(session, measure, tool.slug, since, now):
            day = sums[row.hour.replace(hour=0)]
            matured = not tool.maturity_seconds or row.hour + timedelta(hours=1) <= cutoff
            if matured or not measure.startswith("overrid"):
                day[measure] += row.n
            if measure == "outputs":
                day["proceeded"] += row.n if row.label == "proceed" else 0
                day["matured"] += row.n if matured else 0
    moments = [since + timedelta(days=n) for n in range(days)]
    return [_day(moment, sums[moment]) for moment in moments]


def _day(day: datetime, found: Counter[str]) -> Day:
    overridden = found["overridden"] - found["overrides_withdrawn"]
    # Without outputs there is no rate, though outputs of the days before may be disputed.
    exceptions = found["exceptions"] if found["outputs"] else 0

    def ratio(part: int, whole: str, definition: str) -> Ratio:
        return Ratio.of(part, found[whole], definition, since=day, until=day + timedelta(days=1))

    return Day(
        day,
        ratio(exceptions, "outputs", EXCEPTION_RATE),
        ratio(overridden, "matured", OVERRIDE_RATE),
        ratio(found["proceeded"], "outputs", COVERAGE),
    )
