"""What Prometheus is told of the business, read from the database at every scrape.

Counts come from the tables that keep them in the same transaction as the facts, so a
replayed topic or a killed worker never counts anything twice. Every metric is declared in
`METRICS`; the documentation is made from it and a test holds dashboards and rules to it.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from secondlook import events
from sqlalchemy.orm import Session

from services.escalation import queries as escalation
from services.feedback import queries as feedback
from services.insight import queries
from services.insight.account import of_tools
from services.insight.rules import EXCEPTION_TRIGGERS
from services.kit import counts
from services.kit.clock import Clock
from services.kit.consuming import dead_letters, offsets
from services.kit.database import Database
from services.kit.eventlog.port import Bounds, Partition
from services.tools import queries as tool_queries
from services.tools.queries import ToolInfo
from services.tools.rules import ToolState


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric's name (without `_total`), kind, meaning and labels."""

    name: str
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily]
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """The name under which Prometheus knows it."""
        return f"{self.name}_total" if self.kind is CounterMetricFamily else self.name


_C, _G = CounterMetricFamily, GaugeMetricFamily
_TV = ("tool", "version")
METRICS = {
    declared.name: declared
    for declared in (
        Declared("secondlook_outputs", _C, "Distinct outputs stored.", (*_TV, "disposition")),
        Declared(
            "secondlook_exceptions",
            _C,
            "Outputs that opened a case, audits excluded, each once under its first trigger. "
            "A correction without its output opens a case, too, but is no exception.",
            (*_TV, "trigger"),
        ),
        Declared("secondlook_cases", _C, "Cases opened.", (*_TV, "trigger")),
        Declared(
            "secondlook_matured_outputs",
            _C,
            "Outputs older than the tool's maturity.",
            (*_TV, "disposition"),
        ),
        Declared(
            "secondlook_overridden_outputs",
            _C,
            "Matured outputs whose decided value differs from the tool's. Never an error rate.",
            (*_TV, "disposition"),
        ),
        Declared(
            "secondlook_overrides_withdrawn",
            _C,
            "Overrides of matured outputs that were taken back after they had been counted.",
            (*_TV, "disposition"),
        ),
        Declared("secondlook_corrections", _C, "Words on outputs, by kind.", (*_TV, "kind")),
        Declared("secondlook_verdicts", _C, "Verdicts given.", (*_TV, "verdict")),
        Declared("secondlook_escalations", _C, "Cases moved up a ladder.", ("tool", "level")),
        Declared("secondlook_overdue", _C, "Deadlines missed.", ("tool", "queue", "clock")),
        Declared(
            "secondlook_duplicates",
            _C,
            "Events of tools that came again and changed nothing, as `secondlook account` counts "
            "them. Our own events, such as verdicts, are not in it.",
        ),
        Declared(
            "secondlook_dead_letters", _C, "Events that could not be used.", ("topic", "reason")
        ),
        Declared("secondlook_parked", _C, "Events that a later version may know.", ("topic",)),
        Declared(
            "secondlook_gate_disagreements",
            _C,
            "Outputs whose gate in the SDK answered otherwise than the server's.",
            ("tool", "disposition"),
        ),
        Declared("secondlook_exporter_errors", _C, "Scrapes that could not read the database."),
        Declared("secondlook_tool_state", _G, "1 for the state the tool is in.", ("tool", "state")),
        Declared("secondlook_coverage_ratio", _G, "Coverage, last 28 days.", _TV),
        Declared("secondlook_open_cases", _G, "Open cases.", ("queue",)),
        Declared("secondlook_overdue_cases", _G, "Open cases past a deadline.", ("queue",)),
        Declared(
            "secondlook_oldest_open_case_timestamp_seconds",
            _G,
            "When the oldest open case opened.",
            ("queue",),
        ),
        Declared(
            "secondlook_oldest_unfired_timer_seconds",
            _G,
            "How long the timer that is overdue longest has been due; 0 where none is.",
        ),
        Declared(
            "secondlook_consumer_lag_events",
            _G,
            "Records on the log that the consumer has not taken.",
            ("consumer", "topic", "partition"),
        ),
        Declared(
            "secondlook_consumer_last_progress_timestamp_seconds",
            _G,
            "When the consumer last took something; 0 where it never has.",
            ("consumer",),
        ),
        Declared(
            "secondlook_dead_letters_waiting", _G, "Dead letters nobody has retried.", ("topic",)
        ),
        Declared("secondlook_log_gaps", _G, "Gaps in what a consumer could read.", ("consumer",)),
        Declared(
            "secondlook_last_output_timestamp_seconds",
            _G,
            "When the tool's newest output was stored.",
            ("tool",),
        ),
        Declared("secondlook_exporter_collect_seconds", _G, "How long this scrape took."),
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
Samples = dict[str, dict[tuple[str, ...], float]]


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
        samples: Samples = defaultdict(dict)
        try:
            self._read(samples)
        except Exception as error:  # a scrape answers whatever is wrong with the database
            _log.warning("scrape failed", error=str(error)[:300])
            self._errors += 1
            samples.clear()
        samples["secondlook_exporter_errors"][()] = self._errors
        samples["secondlook_exporter_collect_seconds"][()] = time.monotonic() - begun
        for name, declared in METRICS.items():
            if name in samples:
                yield _family(declared, samples[name])

    def _read(self, samples: Samples) -> None:
        with self._database.snapshot() as session:
            now = self._clock.now(session)
            tools = tool_queries.tools(session)
            totals = counts.totals(session)
            uses = {t.slug: queries.use_by_version(session, t, now=now) for t in tools}
            shown = shown_versions(totals, uses)
            _initial(samples, tools, shown)
            _totals(samples, totals, shown)
            for tool in tools:
                _matured(samples, session, tool, now, shown)
                _tool_gauges(samples, session, tool)
            _coverage(samples, uses, shown)
            _queue_gauges(samples, session, now)
            _letters(samples, session)
            positions = offsets.positions(session)
            gaps = offsets.gaps(session)
        self._consumers(samples, positions, gaps)

    def _consumers(self, samples: Samples, positions: Any, gaps: Mapping[str, int]) -> None:
        """What waits for each consumer; one that has never begun has everything before it."""
        ends = self._bounds_of({topic for topics in self._consumed.values() for topic in topics})
        reached = {(at.consumer, Partition(at.topic, at.partition)): at for at in positions}
        for consumer, topics in self._consumed.items():
            last = 0.0
            for partition, held in ends.items():
                if partition.topic not in topics:
                    continue
                at = reached.get((consumer, partition))
                place = (consumer, partition.topic, str(partition.number))
                lag = max(0, held.next - (held.first if at is None else at.next_offset))
                samples["secondlook_consumer_lag_events"][place] = lag
                last = last if at is None else max(last, at.progressed_at.timestamp())
            samples["secondlook_consumer_last_progress_timestamp_seconds"][consumer,] = last
            samples["secondlook_log_gaps"][consumer,] = gaps.get(consumer, 0)


def _family(declared: Declared, found: Mapping[tuple[str, ...], float]) -> Metric:
    family = declared.kind(declared.name, declared.meaning, labels=declared.labels)
    for labels, value in sorted(found.items()):
        family.add_metric(labels, value)
    return family


# The measure of `total_count` that each counter shows, where the label is the metric's last.
_BY_VERSION = {
    "outputs": "secondlook_outputs",
    "exceptions": "secondlook_exceptions",
    "cases": "secondlook_cases",
    "corrections": "secondlook_corrections",
    "verdicts": "secondlook_verdicts",
}
_WORDS = {
    "secondlook_outputs": events.DISPOSITIONS,
    "secondlook_exceptions": EXCEPTION_TRIGGERS,
    "secondlook_cases": events.TRIGGERS,
    "secondlook_matured_outputs": events.DISPOSITIONS,
    "secondlook_overridden_outputs": events.DISPOSITIONS,
    "secondlook_overrides_withdrawn": events.DISPOSITIONS,
    "secondlook_corrections": events.CORRECTION_KINDS,
    "secondlook_verdicts": events.VERDICT_WORDS,
}


Versions = set[tuple[str, str]]
Uses = Mapping[str, Mapping[str, queries.Use]]

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def shown_versions(totals: Iterable[counts.Total], uses: Uses) -> Versions:
    """The versions that have series, each with its tool: `VERSIONS_SHOWN` a tool at most.

    One that has not been used for 28 days comes after all that have.
    """
    ever: dict[str, Counter[str]] = defaultdict(Counter)
    for total in totals:
        if total.measure in _BY_VERSION:
            ever[total.tool][total.version] += total.n if total.measure == "outputs" else 0
    return {
        (tool, version)
        for tool, found in ever.items()
        for version in _counted_last(found, uses.get(tool, {}))
    }


def _counted_last(ever: Counter[str], uses: Mapping[str, queries.Use]) -> list[str]:
    def rank(version: str) -> tuple[tuple[datetime, int], str]:
        use = uses.get(version)
        return use.last if use is not None else (_LONG_AGO, ever[version]), version

    return sorted(ever, key=rank, reverse=True)[:VERSIONS_SHOWN]


def _initial(samples: Samples, tools: list[ToolInfo], shown: Versions) -> None:
    """Every label set at 0 for the versions shown, so that a first increase is one."""
    for tool, version in shown:
        for name, words in _WORDS.items():
            for word in words:
                samples[name][tool, version, word] = 0
    for info in tools:
        samples["secondlook_escalations"][info.slug, "1"] = 0
        for word in events.DISPOSITIONS:
            samples["secondlook_gate_disagreements"][info.slug, word] = 0
    samples["secondlook_duplicates"][()] = 0


def _totals(samples: Samples, totals: list[counts.Total], shown: Versions) -> None:
    for total in totals:
        if total.measure in _BY_VERSION:
            _total_of_version(samples, total, shown)
        elif total.measure == "escalations":
            samples["secondlook_escalations"][total.tool, total.label] = total.n
        elif total.measure == "overdue":
            samples["secondlook_overdue"][total.tool, total.version, total.label] = total.n
        elif total.measure == "duplicate" and of_tools(total):
            samples["secondlook_duplicates"][()] += total.n
        elif total.measure == "gate_disagreements":
            samples["secondlook_gate_disagreements"][total.tool, total.label] = total.n


def _total_of_version(samples: Samples, total: counts.Total, shown: Versions) -> None:
    name = _BY_VERSION[total.measure]
    if (total.tool, total.version) in shown and total.label in _WORDS[name]:
        samples[name][total.tool, total.version, total.label] = total.n


def _matured(
    samples: Samples, session: Session, tool: ToolInfo, now: datetime, shown: Versions
) -> None:
    outputs, overridden, withdrawn = queries.matured_totals(session, tool, now=now)
    for name, found in (
        ("secondlook_matured_outputs", outputs),
        ("secondlook_overridden_outputs", overridden),
        ("secondlook_overrides_withdrawn", withdrawn),
    ):
        for (version, disposition), n in found.items():
            if (tool.slug, version) in shown:
                samples[name][tool.slug, version, disposition] = n


def _tool_gauges(samples: Samples, session: Session, tool: ToolInfo) -> None:
    for state in ToolState:
        samples["secondlook_tool_state"][tool.slug, state.value] = float(tool.state is state)
    last = feedback.last_recorded(session, tool.slug)
    if last is not None:
        samples["secondlook_last_output_timestamp_seconds"][tool.slug,] = last.timestamp()


def _coverage(samples: Samples, uses: Uses, shown: Versions) -> None:
    for tool, version in shown:
        if version in uses.get(tool, {}):
            coverage = uses[tool][version].coverage
            samples["secondlook_coverage_ratio"][tool, version] = coverage


def _queue_gauges(samples: Samples, session: Session, now: datetime) -> None:
    for queue in escalation.queues(session):
        samples["secondlook_open_cases"][queue.queue,] = queue.open
        samples["secondlook_overdue_cases"][queue.queue,] = queue.overdue
        oldest = "secondlook_oldest_open_case_timestamp_seconds"
        samples[oldest][queue.queue,] = queue.oldest.timestamp()
    due = escalation.oldest_unfired_timer(session)
    late = max(0.0, (now - due).total_seconds()) if due is not None else 0.0
    samples["secondlook_oldest_unfired_timer_seconds"][()] = late


def _letters(samples: Samples, session: Session) -> None:
    for row in dead_letters.by_reason(session):
        if row.parked:
            parked = samples["secondlook_parked"]
            parked[row.topic,] = parked.get((row.topic,), 0) + row.n
        else:
            samples["secondlook_dead_letters"][row.topic, row.reason] = row.n
        waiting = samples["secondlook_dead_letters_waiting"]
        waiting[row.topic,] = waiting.get((row.topic,), 0) + row.waiting
