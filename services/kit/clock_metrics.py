"""What Prometheus is told of the clock."""

from datetime import datetime

from sqlalchemy.orm import Session

from services.kit import clock_guard
from services.kit.metrics import Samples, gauge

METRICS = (
    gauge(
        "secondlook_clock_divergence_seconds",
        "How far the database's clock is from where it should be by the clock of a machine that "
        "runs `tick`, the furthest of all; ahead is more than 0.",
    ),
    gauge(
        "secondlook_clock_stopped_ticks",
        "Machines whose `tick` does nothing that goes by the clock, because it was moved.",
    ),
)


def read(session: Session, samples: Samples, *, now: datetime) -> None:
    """How the clock stands by those who watch it."""
    watched = clock_guard.watched(session, now=now)
    furthest = watched[0].divergence.total_seconds() if watched else 0.0
    samples.set("secondlook_clock_divergence_seconds", furthest)
    stopped = sum(not one.believed for one in watched)
    samples.set("secondlook_clock_stopped_ticks", stopped)
