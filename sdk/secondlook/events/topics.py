"""Types of events, the topics that carry them, and the key on the log."""

from dataclasses import dataclass
from typing import Literal, get_args

CaseEventType = Literal[
    "secondlook.case.opened.v1",
    "secondlook.case.claimed.v1",
    "secondlook.case.released.v1",
    "secondlook.case.escalated.v1",
    "secondlook.case.reassigned.v1",
    "secondlook.case.rerouted.v1",
    "secondlook.case.waiting.v1",
    "secondlook.case.snoozed.v1",
    "secondlook.case.woken.v1",
    "secondlook.case.merged.v1",
    "secondlook.case.unmerged.v1",
    "secondlook.case.reviewed.v1",
    "secondlook.case.divided.v1",
    "secondlook.case.resolved.v1",
    "secondlook.case.closed.v1",
    "secondlook.case.reopened.v1",
    "secondlook.case.undone.v1",
    "secondlook.case.commented.v1",
    "secondlook.case.mentioned.v1",
    "secondlook.case.disputed.v1",
    "secondlook.case.overdue.v1",
    "secondlook.case.reminded.v1",
]

OUTPUT_RECORDED = "secondlook.output.recorded.v1"
OUTPUT_FAILED = "secondlook.output.failed.v1"
CORRECTION_RECORDED = "secondlook.correction.recorded.v1"
CORRECTION_WITHDRAWN = "secondlook.correction.withdrawn.v1"
REVIEW_REQUESTED = "secondlook.review.requested.v1"
REVIEW_WITHDRAWN = "secondlook.review.withdrawn.v1"
REVIEW_BARRED = "secondlook.review.barred.v1"
VERDICT_GIVEN = "secondlook.verdict.given.v1"
VERDICT_UNDONE = "secondlook.verdict.undone.v1"
TOOL_CHANGED = "secondlook.tool.changed.v1"
CASE_EVENT_TYPES: tuple[CaseEventType, ...] = get_args(CaseEventType)

TOOL_EVENT_TYPES = (OUTPUT_RECORDED, OUTPUT_FAILED, CORRECTION_RECORDED, CORRECTION_WITHDRAWN)
"""The types that a tool's key may send; all others are Secondlook's own."""

OUTPUTS = "secondlook.outputs"
CORRECTIONS = "secondlook.corrections"
REVIEWS = "secondlook.reviews"
CASES = "secondlook.cases"
VERDICTS = "secondlook.verdicts"
TOOLS = "secondlook.tools"
DEAD_LETTERS = "secondlook.dead-letters"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the event log, as it is made where it is missing."""

    name: str
    partitions: int
    types: tuple[str, ...]
    compacted: bool = False


# Topics keyed by output have equal numbers of partitions, so that equal keys meet.
TOPICS: tuple[Topic, ...] = (
    Topic(OUTPUTS, 12, (OUTPUT_RECORDED, OUTPUT_FAILED)),
    Topic(CORRECTIONS, 12, (CORRECTION_RECORDED, CORRECTION_WITHDRAWN)),
    Topic(REVIEWS, 12, (REVIEW_REQUESTED, REVIEW_WITHDRAWN, REVIEW_BARRED)),
    Topic(CASES, 12, CASE_EVENT_TYPES),
    Topic(VERDICTS, 12, (VERDICT_GIVEN, VERDICT_UNDONE)),
    Topic(TOOLS, 1, (TOOL_CHANGED,), compacted=True),
    Topic(DEAD_LETTERS, 3, ()),
)
TOPIC_OF: dict[str, str] = {type_: topic.name for topic in TOPICS for type_ in topic.types}


def key(tool: str, output_id: str) -> bytes:
    """The key on the log of everything about one output: `<tool>/<output_id>`."""
    return f"{tool}/{output_id}".encode()
