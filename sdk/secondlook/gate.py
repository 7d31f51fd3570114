"""The gate: which outputs go straight through, and which need a person.

Pure: no clock, no network, no state. The SDK asks it in the tool, the server once more for the
record, with the same facts of the same contract, so that the two answers are one.
"""

import hmac
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from secondlook._facts import FailureFacts, OutputFacts, SharedFacts
from secondlook._values import Disposition, Kind
from secondlook.conditions import Facts, facts_of
from secondlook.policy import (
    GatePolicy,
    PolicyRefused,
    ReviewCondition,
    canonical,
    read_document,
    sign,
    verify,
    write_document,
)

__all__ = [
    "REQUESTER",
    "Decision",
    "GatePolicy",
    "MoreFacts",
    "PolicyRefused",
    "Reason",
    "ReviewCondition",
    "canonical",
    "decide",
    "decide_failure",
    "decide_output",
    "draw",
    "read_document",
    "sign",
    "verify",
    "write_document",
]

Reason = Literal[
    "confident",
    "low_confidence",
    "policy",
    "unknown_category",
    "failed",
    "holdout",
    "shadow",
    "fallback",
    "stopped",
    "stale",
    "sdk_outdated",
    "no_policy",
    "invalid",
]
"""Why the gate decided so.

`policy`: a condition under which a person must look. `stale`: nobody confirmed the policy for
longer than it allows. `sdk_outdated`: the policy asks for what this version does not know. The
last two are the SDK's: it has no policy, or the output breaks the contract.
"""
REQUESTER = "requester"
"""The attribute that names who asked; holdouts are drawn by it where it is given."""


class Decision(NamedTuple):
    """The gate's answer for one output."""

    disposition: Disposition
    reason: Reason
    policy_revision: int | None
    audit: bool = False
    """Whether the output was drawn for a blind review."""
    inclusion_probability: float | None = None
    """The chance it had of being drawn; None where it could not be."""
    holdout: bool = False
    """Whether the work is to be done without the tool, for comparison."""
    fallback_value: Any = None
    """What the policy offers in place of the output, where the disposition is `fallback`."""
    condition: str | None = None
    """The id of the review condition that holds, where the reason is `policy`."""

    @property
    def proceed(self) -> bool:
        """Use the output."""
        return self.disposition == "proceed"

    @property
    def review(self) -> bool:
        """Hold the output until a person has looked at it."""
        return self.disposition == "review"

    @property
    def fallback(self) -> bool:
        """Do what was done before there was a tool."""
        return self.disposition == "fallback"

    @property
    def stop(self) -> bool:
        """Do nothing at all with the output."""
        return self.disposition == "stop"


class MoreFacts(TypedDict, total=False):
    """What review conditions can ask for besides what every decision needs."""

    language: str | None
    cohort: str | None
    model: str | None
    prompt: str | None
    failure: str | None
    """The kind of the error, of an output that failed."""


def decide_output(
    policy: GatePolicy,
    output: OutputFacts,
    *,
    age_seconds: float | None = None,
    safe_default: Disposition = "review",
) -> Decision:
    """Decide about an `events.Output`, with all its facts; see `decide`."""
    return decide(
        policy,
        output_id=output.output_id,
        kind=output.kind,
        value=output.value,
        confidence=output.confidence,
        subject=output.subject,
        attributes=output.attributes,
        age_seconds=age_seconds,
        safe_default=safe_default,
        **_more_facts(policy, output),
    )


def decide_failure(policy: GatePolicy, failure: FailureFacts) -> Decision:
    """Decide about an `events.OutputFailure`, which never goes straight through; see `decide`."""
    return decide(
        policy,
        output_id=failure.output_id,
        kind=None,
        value=None,
        confidence=None,
        subject=failure.subject,
        attributes=failure.attributes,
        **_more_facts(policy, failure, failure=failure.error.kind),
    )


def decide(
    policy: GatePolicy,
    *,
    output_id: str,
    kind: Kind | None,
    value: Any,
    confidence: float | None,
    subject: str | None = None,
    attributes: Mapping[str, str] | None = None,
    age_seconds: float | None = None,
    safe_default: Disposition = "review",
    **facts: Unpack[MoreFacts],
) -> Decision:
    """Decide what becomes of an output.

    In this order: the state (`stopped`, `fallback`, `shadow`); whether the policy may be gone by
    at all (`sdk_outdated`, `stale`); the holdout; the review conditions; a category that is not
    among `categories`; the confidence against the category's threshold, else the tool's. No
    confidence, or NaN, is never enough. Audits are drawn among the outputs that nobody would
    look at: those that proceed, and all of a tool in `shadow`.

    SDK and server call `decide_output` and `decide_failure`, which take all facts from the
    contracts, so that both answer alike.

    Args:
        policy: the tool's policy.
        output_id, kind, value, confidence, subject, attributes: as in `events.Output`, and
            normalised as there. An output that failed has no kind.
        age_seconds: since the server said that the policy holds; None for the server itself.
        safe_default: the disposition where the policy may not be gone by.
        facts: the other facts that `review_when` can ask for.
    """
    if policy.state != "live":
        return _by_state(policy, output_id, failed=kind is None)
    if doubt := _doubt(policy, age_seconds):
        return _answer(policy, safe_default, doubt)
    if policy.holdout_rate and _is_held_out(policy, output_id, subject, attributes):
        return _answer(policy, "fallback", "holdout", holdout=True)
    if policy.review_when:
        known = facts_of(
            tool=policy.tool,
            kind=kind,
            value=value,
            confidence=confidence,
            attributes=attributes,
            **facts,
        )
        if (condition := _first_that_holds(policy, known)) is not None:
            return _answer(policy, "review", "policy", condition=condition)
    if reason := _not_good_enough(policy, kind, value, confidence):
        return _answer(policy, "review", reason)
    return _unseen(policy, output_id, "proceed", "confident")


def draw(key: bytes, purpose: str, name: str) -> float:
    """A number in [0, 1) that looks random and is always the same for the same arguments."""
    mac = hmac.digest(key, f"{purpose}:{name}".encode(), "sha256")
    return (int.from_bytes(mac[:8]) >> 11) / 2**53


def _more_facts(policy: GatePolicy, of: SharedFacts, *, failure: str | None = None) -> MoreFacts:
    """What the policy's review conditions ask for besides; nothing where it has none."""
    if not policy.review_when:
        return {}
    version, input_ = of.version, of.input
    return {
        "cohort": of.cohort,
        "language": input_.language if input_ else None,
        "model": version.model if version else None,
        "prompt": version.prompt if version else None,
        "failure": failure,
    }


def _answer(
    policy: GatePolicy,
    disposition: Disposition,
    reason: Reason,
    *,
    holdout: bool = False,
    condition: str | None = None,
) -> Decision:
    """A decision without an audit."""
    return Decision(
        disposition,
        reason,
        policy.revision,
        holdout=holdout,
        fallback_value=policy.fallback_value if disposition == "fallback" else None,
        condition=condition,
    )


def _by_state(policy: GatePolicy, output_id: str, *, failed: bool) -> Decision:
    """The answer for a tool that is not live, whatever the output."""
    if policy.state == "stopped":
        return _answer(policy, "stop", "stopped")
    if policy.state == "shadow":
        if failed:  # there is nothing to audit
            return _answer(policy, "fallback", "shadow")
        return _unseen(policy, output_id, "fallback", "shadow")
    return _answer(policy, "fallback", "fallback")


def _doubt(policy: GatePolicy, age_seconds: float | None) -> Reason | None:
    """Why the policy may not be gone by, if so."""
    if policy.not_understood:
        return "sdk_outdated"
    limit = policy.max_stale_seconds
    return "stale" if limit and age_seconds is not None and age_seconds > limit else None


def _first_that_holds(policy: GatePolicy, facts: Facts) -> str | None:
    """The id of the first review condition that holds."""
    for name, condition in policy.review_conditions:
        if condition.holds(facts):
            return name
    return None


def _not_good_enough(
    policy: GatePolicy, kind: Kind | None, value: Any, confidence: float | None
) -> Reason | None:
    if kind is None:
        return "failed"
    if kind == "category" and policy.categories and value not in policy.known_categories:
        return "unknown_category"
    return None if _is_confident(policy, kind, value, confidence) else "low_confidence"


def _is_confident(policy: GatePolicy, kind: Kind, value: Any, confidence: float | None) -> bool:
    threshold = policy.threshold
    if kind == "category":
        threshold = policy.category_thresholds.get(value, threshold)
    elif kind == "fields":
        given = [confidence, *map(_field_confidence, value.values())]
        known = [one for one in given if one is not None]
        return bool(known) and all(one >= threshold for one in known)
    return confidence is not None and confidence >= threshold


def _field_confidence(field: Any) -> float | None:
    found = field.get("confidence") if isinstance(field, Mapping) else field.confidence
    return found if found is None else float(found)


def _is_held_out(
    policy: GatePolicy, output_id: str, subject: str | None, attributes: Mapping[str, str] | None
) -> bool:
    requester = (attributes or {}).get(REQUESTER) or subject or output_id
    return draw(policy.sampling_secret, "holdout", requester) < policy.holdout_rate


def _unseen(
    policy: GatePolicy, output_id: str, disposition: Disposition, reason: Reason
) -> Decision:
    rate = policy.audit_rate
    audit = rate > 0 and draw(policy.sampling_secret, "audit", output_id) < rate
    instead = policy.fallback_value if disposition == "fallback" else None
    return Decision(disposition, reason, policy.revision, audit, rate, fallback_value=instead)
