"""Where the consumers' time goes: `python -m benchmarks.hot_path` prints it.

CPU of this process alone, by cProfile on the process clock: shares are to be trusted, the
microseconds are inflated by the profiler.
"""

import cProfile
import json
import pstats
import time
from collections.abc import Callable, Sequence
from typing import Any

from secondlook import events

from benchmarks.load import outputs
from benchmarks.server import database as fresh_database
from services.kit.eventlog.port import Batch
from tests import factories

_EVENTS, _BATCH, _SHOWN = 8_000, 2_000, 12


def _event(output: dict[str, Any]) -> Any:
    told = json.dumps(output | {"value": "billing"})
    return events.output_recorded(
        factories.TOOL, events.Output.model_validate_json(told), time=factories.NOON
    )


def main() -> None:
    """Print the share of each function, for each consumer."""
    with fresh_database() as database:
        log = factories.Delivery(database)
        sent = [_event(output) for output in outputs(_EVENTS)]
        batches = [
            factories.as_batches(log.records(sent[n : n + _BATCH]))
            for n in range(0, _EVENTS, _BATCH)
        ]
        _profile("feedback", lambda: _feed(log, batches))
        # What is left in the outbox are the requests for review.
        _profile("escalation", log.relay)


def _feed(log: factories.Delivery, batches: Sequence[list[Batch]]) -> None:
    for batch in batches:
        log.feed(log.feedback, batch)


def _profile(name: str, work: Callable[[], Any]) -> None:
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    work()
    profile.disable()
    print(f"\n{name}")
    pstats.Stats(profile).sort_stats("cumulative").print_stats(_SHOWN)


if __name__ == "__main__":
    main()
