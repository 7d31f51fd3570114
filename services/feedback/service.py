"""Feedback's verbs that are no consumer's. Each takes a session and the time; none commits.

Every verb that touches output rows takes them in (tool, output_id) order, so that two
consumers wait for each other instead of deadlocking.
"""

from services.feedback.sending import send_on
from services.feedback.waiting import report_unmatched

__all__ = ["report_unmatched", "send_on"]
