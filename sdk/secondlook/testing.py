"""For tests of tools that use Secondlook, and of Secondlook itself."""

from datetime import UTC, datetime
from typing import Any

from secondlook._poison import Poison, corpus
from secondlook.events import Actor, Correction, Output
from secondlook.gate import GatePolicy

__all__ = ["NOON", "POISON", "TOOL", "Poison", "a_correction", "a_policy", "an_output"]

TOOL = "ticket-categoriser"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

POISON: tuple[Poison, ...] = corpus()
"""Malformed and tricky events, each with what `events.decode` must make of it."""


def an_output(**changes: Any) -> Output:
    """A category output, with the fields that are given changed."""
    facts: dict[str, Any] = {
        "output_id": "t-1841",
        "subject": "ticket-1841",
        "kind": "category",
        "value": "refund",
        "confidence": 0.62,
    }
    return Output(**{**facts, **changes})


def a_correction(**changes: Any) -> Correction:
    """A correction of `an_output()` to `billing`, with the fields that are given changed."""
    facts: dict[str, Any] = {
        "output_id": "t-1841",
        "kind": "correction",
        "value": "billing",
        "actor": Actor(id="ana@example.org"),
    }
    if changes.get("kind", "correction") != "correction":
        del facts["value"]
    return Correction(**{**facts, **changes})


def a_policy(**changes: Any) -> GatePolicy:
    """A live policy with the threshold 0.7, with the fields that are given changed."""
    facts: dict[str, Any] = {
        "tool": TOOL,
        "revision": 1,
        "state": "live",
        "kind": "category",
        "threshold": 0.7,
        "sampling_key": "5e" * 32,
        "effective_at": NOON,
    }
    return GatePolicy(**{**facts, **changes})
