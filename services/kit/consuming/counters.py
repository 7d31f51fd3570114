"""What a consumer tells of itself while it runs."""

from collections.abc import Callable
from dataclasses import dataclass

from services.kit.eventlog.port import Partition


def _ignore(*_: object) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What the runner tells of itself, one function each, for metrics to fill in."""

    committed: Callable[[Partition, int], None] = _ignore
    retried: Callable[[str], None] = _ignore
    rejected: Callable[[Partition, str], None] = _ignore
    stale: Callable[[Partition], None] = _ignore
    paused: Callable[[bool], None] = _ignore
