"""What events say: the data of each kind of event."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from secondlook._values import (
    ALTERNATIVES,
    VALUE_BY_KIND,
    ActorId,
    Amount,
    Attributes,
    CaseState,
    Channel,
    CorrectedValue,
    CorrectionKind,
    Count,
    Currency,
    Disposition,
    Id,
    Kind,
    Language,
    Milliseconds,
    Name,
    Note,
    NullIsEmpty,
    OwnerKind,
    Seconds,
    Share,
    ShortText,
    Slug,
    Strict,
    SubjectKind,
    Text,
    Timestamp,
    ToolErrorKind,
    ToolState,
    Trigger,
    Value,
    Verdict,
    WaitsFor,
    WebLink,
    shape_problem,
    wrong_at,
)


class Version(Strict):
    """What produced an output."""

    model: ShortText | None = None
    prompt: ShortText | None = None


class Input(Strict):
    """What a tool was given; as much of it as a reviewer needs."""

    text: Text | None = None
    language: Language | None = None
    """A language tag such as `de` or `pt-BR`."""
    url: WebLink | None = None


class Alternative(Strict):
    """Another value that the tool considered."""

    value: Value
    confidence: Share | None = None


class Cost(Strict):
    """What producing the output cost."""

    amount: Amount
    currency: Currency
    """Three capital letters, such as `EUR`."""


class Actor(Strict):
    """The authenticated person or tool that did something: an e-mail address, a slug, an id."""

    id: ActorId


class Owner(Strict):
    """Who is accountable for a case: a person's e-mail address or a team's slug."""

    kind: OwnerKind
    id: ActorId


class Output(Strict):
    """What a tool returned for one input."""

    model_config = ConfigDict(json_schema_extra={"allOf": VALUE_BY_KIND})

    output_id: Id
    """Unique among the tool's outputs; 1 to 200 bytes."""
    subject: Id | None = None
    """The ticket, document or account that it is about."""
    kind: Kind
    value: Value
    """A category, a text, true or false, or fields by name: as `kind` says."""
    confidence: Share | None = None
    """The tool's own number, uncalibrated; absent where it has none."""
    alternatives: Annotated[
        tuple[Alternative, ...], Field(max_length=ALTERNATIVES, strict=False), NullIsEmpty
    ] = ()
    input: Input | None = None
    attributes: Attributes = {}
    """What routing may go by; `requester` names who asked, for holdouts."""
    version: Version | None = None
    cohort: ShortText | None = None
    latency_ms: Milliseconds | None = None
    cost: Cost | None = None
    occurred_at: Timestamp | None = None
    """When the tool returned it; absent means the event's own time."""
    disposition: Disposition | None = None
    """What the gate in the SDK decided."""
    policy_revision: Count | None = None
    """The policy by which it did, where that is among the tool's newest 40; the server asks its
    own gate under the same one, else under the one in force when the output came."""

    @model_validator(mode="after")
    def _values_have_the_shape_of_the_kind(self) -> Self:
        if wrong := shape_problem(self.kind, self.value, "value"):
            raise wrong
        for position, alternative in enumerate(self.alternatives):
            if wrong := shape_problem(
                self.kind, alternative.value, "alternatives", position, "value"
            ):
                raise wrong
        return self


class ToolError(Strict):
    """Why a tool returned no output."""

    kind: ToolErrorKind
    message: Note = ""


class OutputFailure(Strict):
    """A tool returned nothing for an input."""

    output_id: Id
    subject: Id | None = None
    error: ToolError
    input: Input | None = None
    attributes: Attributes = {}
    version: Version | None = None
    cohort: ShortText | None = None
    latency_ms: Milliseconds | None = None
    occurred_at: Timestamp | None = None


class Correction(Strict):
    """A person's word about an output."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"kind": {"const": "correction"}}},
            "then": {"required": ["value"], "properties": {"value": {"not": {"type": "null"}}}},
            "else": {"properties": {"value": {"type": "null"}}},
        }
    )

    output_id: Id
    kind: CorrectionKind
    value: CorrectedValue | None = None
    """What should stand in the output's place; for kind `correction`, and only for it."""
    reason: ShortText | None = None
    note: Note | None = None
    actor: Actor
    active_seconds: Seconds | None = None
    """How long the person worked on it."""
    channel: Channel | None = None
    occurred_at: Timestamp | None = None

    @model_validator(mode="after")
    def _a_correction_has_a_value(self) -> Self:
        if self.kind == "correction" and self.value is None:
            raise wrong_at("value_missing", "value")
        if self.kind != "correction" and self.value is not None:
            raise wrong_at("value_misplaced", "value")
        return self


class Withdrawal(Strict):
    """A person takes a correction back."""

    output_id: Id
    correction_id: Id
    """The event id of the correction."""
    actor: Actor
    channel: Channel | None = None
    occurred_at: Timestamp | None = None


class RoutedBy(Strict):
    """What a routing policy made of a case: by which rule of which revision, for whom."""

    rule: ShortText
    revision: ShortText
    owner: Owner


class Rerouting(Strict):
    """That another revision of the routing policy made something else of a case."""

    before: RoutedBy
    after: RoutedBy


class CaseEvent(Strict):
    """Where a case stands after something happened to it."""

    case_id: Id
    output_id: Id | None = None
    """Absent where it is about an incident: many outputs."""
    tool: Slug
    trigger: Trigger
    queue: Slug
    owner: Owner
    due_at: Timestamp | None = None
    state: CaseState
    level: Count
    priority: ShortText | None = None
    """How urgent it is, `P1` first."""
    team: Slug | None = None
    """Whose people see it."""
    subject_kind: SubjectKind = "output"
    """What it is about."""
    incident: Id | None = None
    """The case that it is part of, or was."""
    children: Count = 0
    """How many cases are, or were, part of it."""
    waits_for: WaitsFor | None = None
    """Of a case with several reviewers: whom it still needs, another one or a lead."""
    mentioned: Annotated[tuple[ActorId, ...], Field(strict=False), NullIsEmpty] = ()
    """With `mentioned`: the people whom a comment names, who may see the case."""
    apart: Annotated[tuple[ActorId, ...], Field(strict=False), NullIsEmpty] = ()
    """With `reviewed`: the people who have a part in the case, and so are not asked."""
    at: Timestamp
    actor: Actor | None = None
    """Absent where Secondlook itself acted: a timer, a rule."""
    rerouting: Rerouting | None = None
    """There where the type is `rerouted`."""


class VerdictGiven(Strict):
    """A reviewer's verdict on a case."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"verdict": {"const": "corrected"}}},
            "then": {"required": ["value"], "properties": {"value": {"not": {"type": "null"}}}},
        }
    )

    case_id: Id
    output_id: Id
    tool: Slug
    team: Slug | None = None
    """Whose people see the case."""
    trigger: Trigger | None = None
    verdict: Verdict
    value: CorrectedValue | None = None
    """What the reviewer says is right; always there with `corrected`."""
    upheld_value: Value | None = None
    """What the tool said, as the reviewer saw it; there with `upheld`."""
    actor: Actor
    blind: bool
    """Whether the reviewer decided without seeing the tool's value."""
    note: Note | None = None
    active_seconds: Seconds | None = None
    at: Timestamp

    @model_validator(mode="after")
    def _corrected_has_a_value(self) -> Self:
        if self.verdict == "corrected" and self.value is None:
            raise wrong_at("value_missing", "value")
        return self


class VerdictUndone(Strict):
    """A verdict counts no longer: its reviewer, or a lead, took it back."""

    case_id: Id
    output_id: Id
    tool: Slug
    team: Slug | None = None
    """Whose people see the case."""
    verdict_id: Id
    """The event id of the verdict."""
    actor: Actor
    at: Timestamp


class ToolChanged(Strict):
    """A tool's gate policy and state, without the secret that draws audits."""

    tool: Slug
    team: Slug | None = None
    """Who answers for it."""
    kind: Kind
    state: ToolState
    revision: Count
    threshold: Share
    category_thresholds: dict[Name, Share] = {}
    audit_rate: Share
    holdout_rate: Share
    effective_at: Timestamp
    actor: Actor | None = None


class ReviewedOutput(Strict):
    """What an output said, or that it failed: all that a reviewer and a routing rule need."""

    subject: Id | None = None
    kind: Kind
    value: Value | None = None
    """Absent where the tool failed."""
    confidence: Share | None = None
    alternatives: Annotated[tuple[Alternative, ...], Field(strict=False), NullIsEmpty] = ()
    input: Input | None = None
    attributes: Attributes = {}
    version: Version | None = None
    cohort: ShortText | None = None
    error: ToolError | None = None
    """Why there is no value, where the tool failed."""
    occurred_at: Timestamp | None = None


class GateAnswer(Strict):
    """What the gate decided about the output that a review is requested of."""

    disposition: Disposition
    reason: ShortText
    """One of the gate's reasons, such as `low_confidence` or `policy`."""
    condition: ShortText | None = None
    """The id of the review condition that holds, with reason `policy`."""
    policy_revision: Count | None = None
    inclusion_probability: Share | None = None
    """With which an audit was drawn."""


class Objection(Strict):
    """Somebody's word that an output is wrong, or on one that never came."""

    correction_id: Id
    """The event id of the correction."""
    correction: Correction


class ReviewRequest(Strict):
    """An output needs a person: why, and everything that is known of it."""

    tool: Slug
    output_id: Id
    trigger: Trigger
    output: ReviewedOutput | None = None
    """Absent while the output has not come, and where a request sent just before has brought it.
    Trimmed (alternatives first, then the input) where all of it would not fit an event."""
    gate: GateAnswer | None = None
    objection: Objection | None = None
    at: Timestamp


class ReviewBar(Strict):
    """Somebody who may review corrected an output themselves, and so does not judge it."""

    tool: Slug
    output_id: Id
    correction_id: Id
    """The event id of the correction; a withdrawal of it lifts the bar."""
    actor: Actor


class ReviewWithdrawal(Strict):
    """An objection that a review was requested for, or a reviewer's own correction, was taken
    back by its author."""

    tool: Slug
    output_id: Id
    correction_id: Id
    actor: Actor
