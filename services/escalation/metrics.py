"""What Prometheus is told of cases."""

from secondlook import events

from services.escalation import queries
from services.escalation.policy.tallies import MONITORED
from services.kit.metrics import counter, gauge
from services.tools.metrics import Scrape, count_by_version

METRICS = (
    counter("secondlook_cases", "Cases opened.", "tool", "version", "trigger"),
    counter("secondlook_verdicts", "Verdicts given.", "tool", "version", "verdict"),
    counter("secondlook_escalations", "Cases moved up a ladder.", "tool", "level"),
    counter("secondlook_overdue", "Deadlines missed.", "tool", "queue", "clock"),
    counter(
        "secondlook_monitored_rule_matches",
        "Cases that a routing rule would have taken that is only tried (`mode: monitor`).",
        "rule",
    ),
    gauge("secondlook_open_cases", "Open cases.", "queue"),
    gauge("secondlook_overdue_cases", "Open cases past a deadline.", "queue"),
    gauge(
        "secondlook_oldest_open_case_timestamp_seconds",
        "When the oldest open case opened.",
        "queue",
    ),
    gauge(
        "secondlook_oldest_unfired_timer_seconds",
        "How long the timer that is overdue longest has been due; 0 where none is. Parked ones "
        "are not in it.",
    ),
    gauge(
        "secondlook_unowned_cases",
        "Open cases whose owner is nobody who is active and may review; anything but 0 is a fault.",
    ),
    gauge("secondlook_parked_timers", "Timers that failed and wait to be tried again."),
)


def read(scrape: Scrape) -> None:
    """Counts from their totals, and how queues and timers stand."""
    count_by_version(scrape, "cases", "secondlook_cases", events.TRIGGERS)
    count_by_version(scrape, "verdicts", "secondlook_verdicts", events.VERDICT_WORDS)
    for tool in scrape.tools:
        scrape.samples.add("secondlook_escalations", 0, tool.slug, "1")
    for total in scrape.totals:
        if total.measure == "escalations":
            scrape.samples.add("secondlook_escalations", total.n, total.tool, total.label)
        elif total.measure == "overdue":
            queue, _, clock = total.label.rpartition("/")
            scrape.samples.add("secondlook_overdue", total.n, total.tool, queue, clock)
        elif total.measure == MONITORED:
            rule = total.label.partition("/")[2]
            scrape.samples.add("secondlook_monitored_rule_matches", total.n, rule)
    _read_queues(scrape)


def _read_queues(scrape: Scrape) -> None:
    samples, session = scrape.samples, scrape.session
    for queue in queries.queues(session):
        samples.set("secondlook_open_cases", queue.open, queue.queue)
        samples.set("secondlook_overdue_cases", queue.overdue, queue.queue)
        oldest = "secondlook_oldest_open_case_timestamp_seconds"
        samples.set(oldest, queue.oldest.timestamp(), queue.queue)
    due = queries.oldest_unfired_timer(session)
    late = max(0.0, (scrape.now - due).total_seconds()) if due is not None else 0.0
    samples.set("secondlook_oldest_unfired_timer_seconds", late)
    samples.set("secondlook_unowned_cases", sum(queries.unowned(session).values()))
    samples.set("secondlook_parked_timers", queries.parked_timer_count(session))
