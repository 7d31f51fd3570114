"""The gate: which outputs go straight through, and which need a person.

Pure: no clock, no network, no state. The SDK and the server run this same code, so that they
can be compared.
"""

import hmac
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, ValidationError

from secondlook._values import (
    Count,
    Disposition,
    HexKey,
    Kind,
    Name,
    Share,
    Slug,
    Strict,
    Timestamp,
    ToolState,
    Value,
)

Reason = Literal[
    "confident",
    "low_confidence",
    "holdout",
    "shadow",
    "fallback",
    "stopped",
    "no_policy",
    "invalid",
]
"""Why the gate decided so. The last two are the SDK's: it has no policy, or the output is bad."""
REQUESTER = "requester"
"""The attribute that names who asked; holdouts are drawn by it where it is given."""


class GatePolicy(Strict):
    """What a tool's gate goes by; a document of one revision, never changed."""

    # A newer server may say more than this SDK knows.
    model_config = ConfigDict(extra="ignore")

    tool: Slug
    revision: Count
    """Rises with every change; an older one never replaces a newer one."""
    state: ToolState
    kind: Kind
    threshold: Share
    """The least confidence with which an output goes straight through."""
    category_thresholds: Annotated[dict[Name, Share], Field(max_length=10_000)] = {}
    """Thresholds of single categories; they come before `threshold`."""
    audit_rate: Share = 0.0
    """Share of the outputs nobody would look at that people review blind."""
    holdout_rate: Share = 0.0
    """Share of requesters whose outputs always go to a person, for comparison."""
    sampling_key: Annotated[HexKey, Field(repr=False)]
    """Secret that draws audits and holdouts, 16 to 64 bytes in hexadecimal."""
    fallback_value: Value | None = None
    """What the tool should use where its own output may not be used."""
    effective_at: Timestamp
    expires_at: Timestamp | None = None
    """When a newer policy is expected. A later one is still used: stale beats none."""

    @cached_property
    def sampling_secret(self) -> bytes:
        """The sampling key as bytes."""
        return bytes.fromhex(self.sampling_key)


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
    fallback_value: Any = None
    """What the policy offers in place of the output, where the disposition is `fallback`."""

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


def decide(
    policy: GatePolicy,
    *,
    output_id: str,
    kind: Kind,
    value: Any,
    confidence: float | None,
    subject: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Decision:
    """Decide what becomes of an output.

    The state comes first (`stopped`, `fallback`, `shadow`), then the holdout, then the
    confidence: the category's threshold, else the tool's. No confidence, or NaN, is never
    enough. Audits are drawn among the outputs that nobody would look at: those that proceed,
    and all of a tool in `shadow`.
    """
    if policy.state == "stopped":
        return Decision("stop", "stopped", policy.revision)
    if policy.state == "fallback":
        return Decision(
            "fallback", "fallback", policy.revision, fallback_value=policy.fallback_value
        )
    if policy.state == "shadow":
        return _unseen(policy, output_id, "fallback", "shadow")
    if policy.holdout_rate and _is_held_out(policy, output_id, subject, attributes):
        return Decision("review", "holdout", policy.revision, holdout=True)
    if not _is_confident(policy, kind, value, confidence):
        return Decision("review", "low_confidence", policy.revision)
    return _unseen(policy, output_id, "proceed", "confident")


def draw(key: bytes, purpose: str, name: str) -> float:
    """A number in [0, 1) that looks random and is always the same for the same arguments."""
    mac = hmac.digest(key, f"{purpose}:{name}".encode(), "sha256")
    return (int.from_bytes(mac[:8]) >> 11) / 2**53


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


class PolicyRefused(ValueError):
    """A policy document is malformed, wrongly signed or of another tool."""


def sign(policy_json: bytes, key_hash: bytes) -> str:
    """HMAC-SHA256 of a policy's canonical JSON under the SHA-256 of the API key, hexadecimal."""
    return hmac.digest(key_hash, policy_json, "sha256").hex()


def verify(policy_json: bytes, signature: str, key_hash: bytes) -> bool:
    """Whether the signature is that of these bytes; takes the same time either way."""
    return hmac.compare_digest(sign(policy_json, key_hash).encode(), signature.encode())


def canonical(policy: Mapping[str, Any]) -> bytes:
    """The bytes of a policy that are signed: names sorted, no spaces, ASCII."""
    return json.dumps(policy, sort_keys=True, separators=(",", ":")).encode()


def write_document(policy: GatePolicy, key_hash: bytes) -> bytes:
    """The signed document of `GET /v1/policy`: `{"policy": {…}, "signature": "…"}`."""
    body = policy.model_dump(mode="json", exclude_none=True)
    signed = {"policy": body, "signature": sign(canonical(body), key_hash)}
    return json.dumps(signed, separators=(",", ":")).encode()


def read_document(raw: bytes, key_hash: bytes) -> GatePolicy:
    """The policy of a signed document.

    Raises:
        PolicyRefused: no such document, a wrong signature, or a policy that this SDK can't read.
    """
    try:
        document = json.loads(raw)
        body, signature = document["policy"], document["signature"]
        genuine = verify(canonical(body), signature, key_hash)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise PolicyRefused("the answer is no signed policy document") from None
    if not genuine:
        raise PolicyRefused("the policy's signature is wrong: it was made for another key")
    try:
        return GatePolicy.model_validate_json(canonical(body))
    except ValidationError as error:
        where = ["/".join(map(str, problem["loc"])) for problem in error.errors()]
        raise PolicyRefused(f"the policy can't be read: {', '.join(where)}") from None
