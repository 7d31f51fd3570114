"""What Prometheus is told of what is sent."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from services.kit.counts import Total
from services.kit.metrics import Samples, counter, gauge
from services.notifications import queries
from services.notifications.rules import Channel

MEASURE = "deliveries"
OUTCOMES = ("sent", "failed", "retried")

METRICS = (
    counter(
        "secondlook_deliveries",
        "Attempts to send something, by what came of them: `failed` is given up, `retried` is "
        "tried again later.",
        *("channel", "outcome"),
    ),
    gauge("secondlook_waiting_deliveries", "What waits to be sent, or sent again.", "channel"),
    gauge(
        "secondlook_oldest_due_delivery_seconds",
        "How long the delivery that is due longest has been due; 0 where none is. What waits for "
        "its next try is not due.",
    ),
    gauge(
        "secondlook_oldest_ungathered_mail_seconds",
        "How long what was to be mailed first has been due, where no mail was made of it; 0 where "
        "all were.",
    ),
)


def read(session: Session, samples: Samples, totals: Sequence[Total], *, now: datetime) -> None:
    """Counts from their totals, each there, at 0, from the beginning; and what waits."""
    for channel in Channel:
        for outcome in OUTCOMES:
            samples.add("secondlook_deliveries", 0, channel.value, outcome)
    for total in totals:
        if total.measure == MEASURE:
            channel_, _, outcome = total.label.partition("/")
            samples.add("secondlook_deliveries", total.n, channel_, outcome)
    found = queries.backlog(session, now=now)
    for channel in Channel:
        waiting = found.waiting.get(channel.value, 0)
        samples.set("secondlook_waiting_deliveries", waiting, channel.value)
    samples.set("secondlook_oldest_due_delivery_seconds", _late(found.due_since, now))
    ungathered = queries.ungathered(session, now=now)
    samples.set("secondlook_oldest_ungathered_mail_seconds", _late(ungathered.since, now))


def _late(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0
