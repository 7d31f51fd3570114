"""Escalation's verbs. Each takes a session, an actor and the time, and authorises; none commits."""

from services.escalation.claims import (
    Claim,
    answers_for,
    case_for_reviewer,
    claim,
    expire_leases,
    release,
)
from services.escalation.firing import fire_due
from services.escalation.handling import comment, escalate, reassign
from services.escalation.handover import pass_on
from services.escalation.impartial import left_alone, refusal
from services.escalation.merging import merge, unmerge
from services.escalation.parts import Decided, Judgement, decide, merged_into, preview
from services.escalation.pauses import may_put_off, snooze, wait, wake
from services.escalation.policy.findings import check_owners, policy_findings
from services.escalation.recounting import recount
from services.escalation.reopening import reopen
from services.escalation.undoing import undo, undo_parts, undo_together, undone_with
from services.escalation.verdicts import Verdict, close_resolved, give_verdict

__all__ = [
    "Claim",
    "Decided",
    "Judgement",
    "Verdict",
    "answers_for",
    "case_for_reviewer",
    "check_owners",
    "claim",
    "close_resolved",
    "comment",
    "decide",
    "escalate",
    "expire_leases",
    "fire_due",
    "give_verdict",
    "left_alone",
    "may_put_off",
    "merge",
    "merged_into",
    "pass_on",
    "policy_findings",
    "preview",
    "reassign",
    "recount",
    "refusal",
    "release",
    "reopen",
    "snooze",
    "undo",
    "undo_parts",
    "undo_together",
    "undone_with",
    "unmerge",
    "wait",
    "wake",
]
