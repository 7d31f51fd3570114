"""The CloudEvents 1.0 envelope, and which data goes in which type of event."""

from typing import Any, Literal, Self

from pydantic import ConfigDict, model_validator

from secondlook._values import (
    EXTENSION_NAME,
    ExtensionName,
    ExtensionValue,
    Id,
    JsonType,
    Strict,
    Timestamp,
    ToolSource,
    wrong_at,
)
from secondlook.events import topics
from secondlook.events.models import (
    CaseEvent,
    Correction,
    Output,
    OutputFailure,
    ReviewBar,
    ReviewRequest,
    ReviewWithdrawal,
    ToolChanged,
    VerdictGiven,
    VerdictUndone,
    Withdrawal,
)

_OurSource = Literal["/secondlook"]


class Event(Strict):
    """A CloudEvents 1.0 envelope. Extension attributes are taken and not used."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"propertyNames": {"pattern": EXTENSION_NAME}}
    )
    __pydantic_extra__: dict[ExtensionName, ExtensionValue]

    specversion: Literal["1.0"]
    id: Id
    """Unique for its source."""
    source: str
    type: str
    subject: Id | None = None
    """The output's id, where the event is about one."""
    time: Timestamp
    datacontenttype: JsonType | None = "application/json"
    data: Any

    @model_validator(mode="after")
    def _subject_is_the_output(self) -> Self:
        if self.subject is not None and self.subject != getattr(
            self.data, "output_id", self.subject
        ):
            raise wrong_at("other_subject", "subject")
        return self

    @property
    def tool(self) -> str:
        """The slug of the tool that the event is about."""
        return self.source[7:] if self.source.startswith("/tools/") else str(self.data.tool)

    @property
    def topic(self) -> str:
        """The topic that carries events of this type."""
        return topics.TOPIC_OF[self.type]

    @property
    def key(self) -> bytes:
        """The key on the log: an output and what follows it share a partition, and so does what
        happens to one case."""
        for name in ("output_id", "case_id"):
            found = getattr(self.data, name, None)
            if found is not None:
                return topics.key(self.tool, found)
        return self.tool.encode()


class OutputRecorded(Event):
    """A tool returned an output."""

    source: ToolSource
    type: Literal["secondlook.output.recorded.v1"]
    data: Output


class OutputFailed(Event):
    """A tool returned nothing."""

    source: ToolSource
    type: Literal["secondlook.output.failed.v1"]
    data: OutputFailure


class CorrectionRecorded(Event):
    """A person corrected, confirmed, disputed or appealed."""

    source: ToolSource
    type: Literal["secondlook.correction.recorded.v1"]
    data: Correction


class CorrectionWithdrawn(Event):
    """A person took a correction back."""

    source: ToolSource
    type: Literal["secondlook.correction.withdrawn.v1"]
    data: Withdrawal


class CaseMoved(Event):
    """Something happened to a case; the type says what."""

    source: _OurSource
    type: topics.CaseEventType
    data: CaseEvent


class VerdictRecorded(Event):
    """A reviewer gave a verdict."""

    source: _OurSource
    type: Literal["secondlook.verdict.given.v1"]
    data: VerdictGiven


class VerdictTakenBack(Event):
    """A verdict was undone."""

    source: _OurSource
    type: Literal["secondlook.verdict.undone.v1"]
    data: VerdictUndone


class ToolMoved(Event):
    """A tool's gate policy or state changed."""

    source: _OurSource
    type: Literal["secondlook.tool.changed.v1"]
    data: ToolChanged


class ReviewRequested(Event):
    """An output needs a person."""

    source: _OurSource
    type: Literal["secondlook.review.requested.v1"]
    data: ReviewRequest


class ReviewWithdrawn(Event):
    """An objection that a review was requested for was taken back."""

    source: _OurSource
    type: Literal["secondlook.review.withdrawn.v1"]
    data: ReviewWithdrawal


class ReviewBarred(Event):
    """A reviewer corrected an output themselves."""

    source: _OurSource
    type: Literal["secondlook.review.barred.v1"]
    data: ReviewBar


AnyEvent = (
    OutputRecorded
    | OutputFailed
    | CorrectionRecorded
    | CorrectionWithdrawn
    | CaseMoved
    | VerdictRecorded
    | VerdictTakenBack
    | ToolMoved
    | ReviewRequested
    | ReviewWithdrawn
    | ReviewBarred
)
