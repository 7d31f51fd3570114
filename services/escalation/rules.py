"""What calls for a case and what a case can go through. Pure: no database, no web framework."""

from enum import StrEnum


class Trigger(StrEnum):
    """Why a case opened."""

    LOW_CONFIDENCE = "low_confidence"
    DISPUTE = "dispute"
    TOOL_FAILURE = "tool_failure"
    POLICY = "policy"
    AUDIT = "audit"
    UNMATCHED = "unmatched"


NO_EXCEPTION = frozenset({Trigger.AUDIT, Trigger.UNMATCHED})
"""Reasons for a case that do not make its output an exception, or that have no output."""


class CaseState(StrEnum):
    """Where a case stands."""

    OPEN = "open"
    CLAIMED = "claimed"
    WAITING = "waiting"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"
    CLOSED = "closed"
    MERGED = "merged"


OPEN_STATES = (CaseState.OPEN, CaseState.CLAIMED, CaseState.WAITING, CaseState.SNOOZED)


class Priority(StrEnum):
    """How urgent a case is; P1 first."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"


class Clock(StrEnum):
    """What a timer runs for: to be claimed, to be resolved, or a rung of the ladder."""

    CLAIM = "claim"
    RESOLVE = "resolve"
    RUNG = "rung"


def trigger_for(*, disposition: str, reason: str, failed: bool, audit: bool) -> Trigger | None:
    """What an output's gate calls for: a case under this trigger, or none.

    A tool that is stopped or on fallback does not have its outputs used, so nobody needs
    to look at them. A held-out output is judged like an audit: blind, for comparison.
    """
    if failed:
        return Trigger.TOOL_FAILURE
    if reason == "holdout":
        return Trigger.AUDIT
    if disposition == "review":
        return Trigger.LOW_CONFIDENCE
    return Trigger.AUDIT if audit else None
