"""Feedback's verbs. Each takes a session and the time, for a whole batch; none commits.

Every verb that touches output rows takes them in (tool, output_id) order, so that two
consumers wait for each other instead of deadlocking.
"""

from services.feedback.corrections import report_unmatched, store_withdrawals
from services.feedback.corrections import store as store_corrections
from services.feedback.outputs import store as store_outputs
from services.feedback.verdicts import store as store_verdicts
from services.feedback.verdicts import store_undone as store_undone_verdicts

__all__ = [
    "report_unmatched",
    "store_corrections",
    "store_outputs",
    "store_undone_verdicts",
    "store_verdicts",
    "store_withdrawals",
]
