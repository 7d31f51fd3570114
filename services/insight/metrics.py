"""What Prometheus is told of the business, read from the database at every scrape.

Counts come from the tables that keep them in the same transaction as the facts, so a
replayed topic or a killed worker never counts anything twice. Every package declares its own
metrics; here they are put together, with those that need several packages.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from secondlook import events

from services.escalation import metrics as escalation
from services.feedback import metrics as feedback
from services.insight import queries
from services.kit import clock_metrics, counts
from services.kit.clock import Clock
from services.kit.consuming import metrics as consuming
from services.kit.consuming import offsets
from services.kit.database import Database
from services.kit.eventlog.port import Bounds, Partition
from services.kit.metrics import Samples, counter, gauge
from services.measurement import metrics as measurement
from services.notifications import metrics as notifications
from services.tools import metrics as tools
from services.tools import queries as tool_queries
from services.tools.metrics import Scrape
from services.tools.versions import all_versions

_OWN = (
    counter(
        "secondlook_matured_outputs",
        "Outputs older than the tool's maturity.",
        *("tool", "version", "disposition"),
    ),
    counter(
        "secondlook_overridden_outputs",
        "Matured outputs whose decided value differs from the tool's. Never an error rate.",
        *("tool", "version", "disposition"),
    ),
    counter(
        "secondlook_overrides_withdrawn",
        "Overrides of matured outputs that were taken back after they had been counted.",
        *("tool", "version", "disposition"),
    ),
    counter(
        "secondlook_tool_matured_outputs",
        "Outputs older than the tool's maturity, of all versions; there from the tool's "
        "registration on.",
        "tool",
    ),
    counter(
        "secondlook_tool_overridden_outputs",
        "Matured outputs that were overridden, of all versions; there from the tool's "
        "registration on.",
        "tool",
    ),
    counter(
        "secondlook_tool_overrides_withdrawn",
        "Overrides of matured outputs that were taken back, of all versions; there from the "
        "tool's registration on.",
        "tool",
    ),
    gauge("secondlook_coverage_ratio", "Coverage, last 28 days.", "tool", "version"),
    counter("secondlook_exporter_errors", "Scrapes that could not read the database."),
    gauge("secondlook_exporter_collect_seconds", "How long this scrape took."),
)
METRICS = {
    declared.name: declared
    for declared in (
        *feedback.METRICS,
        *escalation.METRICS,
        *measurement.METRICS,
        *notifications.METRICS,
        *tools.METRICS,
        *consuming.METRICS,
        *clock_metrics.METRICS,
        *_OWN,
    )
}

VERSIONS_SHOWN = 20
"""Of so many versions a tool's series tell: of those counted last, the busiest first.

A version's series end when others take its place and go on from its count when it comes back,
so none ever falls. There is no series for the rest together: it would fall, and jump, whenever
a version changed sides.
"""

_log = structlog.get_logger()

BoundsOf = Callable[[Iterable[str]], Mapping[Partition, Bounds]]
Uses = Mapping[int, queries.Use]


class BusinessCollector(Collector):
    """Reads everything as of one moment, at every scrape: no counter may fall between reads."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        bounds_of: BoundsOf,
        *,
        consumed: Mapping[str, Sequence[str]],
    ) -> None:
        """`consumed` names the topics that each consumer reads, whether it has begun or not."""
        self._database, self._clock, self._bounds_of = database, clock, bounds_of
        self._consumed = consumed
        self._errors = 0

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: what there is depends on the tools."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All families; on a database fault only the count of such faults."""
        begun = time.monotonic()
        samples = Samples()
        try:
            self._read(samples)
        except Exception as error:  # a scrape answers whatever is wrong with the database
            _log.warning("scrape failed", error=str(error)[:300])
            self._errors += 1
            samples = Samples()
        samples.set("secondlook_exporter_errors", self._errors)
        samples.set("secondlook_exporter_collect_seconds", time.monotonic() - begun)
        yield from samples.families(METRICS)

    def _read(self, samples: Samples) -> None:
        with self._database.snapshot() as session:
            now = self._clock.now(session)
            known = tool_queries.tools(session)
            totals = counts.totals(session)
            uses: dict[int, queries.Use] = {}
            for tool in known:
                uses |= queries.use_by_version(session, tool, now=now)
            versions = all_versions(session)
            shown = shown_versions(totals, uses)
            scrape = Scrape(session, now, known, totals, versions, shown, samples)
            for package in (feedback, escalation, measurement, tools):
                package.read(scrape)
            notifications.read(session, samples, totals, now=now)
            _matured(scrape)
            _coverage(scrape, uses)
            consuming.read_dead_letters(session, samples)
            clock_metrics.read(session, samples, now=now)
            positions, gaps = offsets.positions(session), offsets.gaps(session)
        ends = self._bounds_of({topic for topics in self._consumed.values() for topic in topics})
        consuming.read_consumers(samples, positions, gaps, ends=ends, consumed=self._consumed)


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_MEASURES = frozenset({"outputs", "exceptions", "cases", "corrections", "verdicts"})


def shown_versions(totals: Iterable[counts.Total], uses: Uses) -> frozenset[int]:
    """The numbers of the versions that have series: `VERSIONS_SHOWN` a tool at most.

    One that has not been used for 28 days comes after all that have.
    """
    ever: dict[str, Counter[int]] = defaultdict(Counter)
    for total in totals:
        if total.measure in _MEASURES and total.version:
            ever[total.tool][total.version] += total.n if total.measure == "outputs" else 0
    return frozenset(version for found in ever.values() for version in _counted_last(found, uses))


def _counted_last(ever: Counter[int], uses: Uses) -> list[int]:
    def rank(version: int) -> tuple[tuple[datetime, int], int]:
        use = uses.get(version)
        return use.last if use is not None else (_LONG_AGO, ever[version]), version

    return sorted(ever, key=rank, reverse=True)[:VERSIONS_SHOWN]


def _matured(scrape: Scrape) -> None:
    samples = scrape.samples
    for tool in scrape.tools:
        found = queries.matured_totals(scrape.session, tool, now=scrape.now)
        for name, counted in zip(
            ("matured_outputs", "overridden_outputs", "overrides_withdrawn"), found, strict=True
        ):
            samples.add(f"secondlook_tool_{name}", sum(counted.values()), tool.slug)
            for number in scrape.shown:
                owner, version = scrape.versions[number]
                for word in events.DISPOSITIONS if owner == tool.slug else ():
                    place = (owner, version.label, word)
                    samples.add(f"secondlook_{name}", counted[number, word], *place)


def _coverage(scrape: Scrape, uses: Uses) -> None:
    for number in scrape.shown & uses.keys():
        tool, version = scrape.versions[number]
        scrape.samples.set("secondlook_coverage_ratio", uses[number].coverage, tool, version.label)
