"""A tool's gate policy, and the signed document that it travels in."""

import hmac
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from secondlook._values import (
    Category,
    Count,
    HexKey,
    Kind,
    Name,
    Share,
    ShortText,
    Slug,
    Strict,
    Timestamp,
    ToolState,
    Value,
    wrong_at,
)
from secondlook.conditions import Condition, When
from secondlook.extent import excess, steps
from secondlook.text import CATEGORIES

REVIEW_CONDITIONS = 200
"""The most review conditions of one policy."""
LEAST_STALE_SECONDS = 60
"""An SDK hears from the server every 30 s where all is well; less would be stale all the time."""


class ReviewCondition(Strict):
    """A named condition under which a person must look, whatever the confidence."""

    id: Slug
    when: When


def _ids_differ(conditions: list[ReviewCondition]) -> list[ReviewCondition]:
    ids = [condition.id for condition in conditions]
    for position, id_ in enumerate(ids):
        if id_ in ids[:position]:
            raise wrong_at("twice", position, "id")
    return conditions


def _within_extent(conditions: list[ReviewCondition]) -> list[ReviewCondition]:
    if found := excess(condition.when for condition in conditions):
        at = (found.position, "when", found.fact)
        given = {"problem": found.problem, "hint": found.hint, "at": at}
        raise PydanticCustomError("clause", "{problem}", given)
    return conditions


ReviewConditions = Annotated[
    list[ReviewCondition],
    Field(max_length=REVIEW_CONDITIONS),
    AfterValidator(_ids_differ),
    AfterValidator(_within_extent),
]
"""The first that holds counts."""


class GatePolicy(Strict):
    """What a tool's gate goes by; a document of one revision, never changed."""

    # A newer server may say more than this SDK knows.
    model_config = ConfigDict(extra="ignore")

    tool: Slug
    revision: Count
    """Rises with every change; within an epoch an older one never replaces a newer one."""
    epoch: ShortText = ""
    """Names the life of the server's database. After a restore it is another, and revisions of
    different epochs say nothing about which is newer."""
    state: ToolState
    kind: Kind
    threshold: Share
    """The least confidence with which an output goes straight through."""
    category_thresholds: Annotated[dict[Category, Share], Field(max_length=CATEGORIES)] = {}
    """Thresholds of single categories; they come before `threshold`."""
    categories: Annotated[tuple[Category, ...], Field(max_length=CATEGORIES, strict=False)] = ()
    """The categories in use; an output with another one goes to a person. Empty allows any."""
    review_when: ReviewConditions = []
    """Conditions under which a person must look whatever the confidence; the first hit counts."""
    audit_rate: Share = 0.0
    """Share of the outputs nobody would look at that people review blind."""
    holdout_rate: Share = 0.0
    """Share of requesters whose work is done without the tool, for comparison."""
    sampling_key: Annotated[HexKey, Field(repr=False)]
    """Secret that draws audits and holdouts, 16 to 64 bytes in hexadecimal."""
    fallback_value: Value | None = None
    """What the tool should use where its own output may not be used."""
    max_stale_seconds: Annotated[int, Field(ge=LEAST_STALE_SECONDS)] | None = None
    """How long the policy may be used that the server has not confirmed; None is for ever."""
    critical: Annotated[tuple[Name, ...], Field(max_length=50, strict=False)] = ()
    """Members that a reader must know; one that does not answers its safe default."""
    effective_at: Timestamp
    expires_at: Timestamp | None = None
    """When a newer policy is expected; says nothing about how long this one may be used."""

    @cached_property
    def sampling_secret(self) -> bytes:
        """The sampling key as bytes."""
        return bytes.fromhex(self.sampling_key)

    @cached_property
    def known_categories(self) -> frozenset[str]:
        """`categories`, to look one up."""
        return frozenset(self.categories)

    @cached_property
    def review_conditions(self) -> tuple[tuple[str, Condition], ...]:
        """`review_when`, made ready to be asked often."""
        return tuple((one.id, Condition(one.when)) for one in self.review_when)

    @cached_property
    def steps(self) -> int:
        """How many steps its conditions take at most (`extent.steps`)."""
        return steps(condition.when for condition in self.review_when)

    @cached_property
    def not_understood(self) -> tuple[str, ...]:
        """The critical members that this version does not know."""
        return tuple(name for name in self.critical if name not in GatePolicy.model_fields)


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
        return _as_far_as_readable(body, error)


def _as_far_as_readable(body: dict[str, Any], error: ValidationError) -> GatePolicy:
    """A genuine policy of which this version can't read everything.

    What can't be read counts as a critical member that is not known. To go on with the policy
    before it instead could mean to go on with a tool that has been stopped.
    """
    where = ["/".join(map(str, problem["loc"])) for problem in error.errors()]
    unreadable = {place.partition("/")[0] for place in where}
    required = {name for name, field in GatePolicy.model_fields.items() if field.is_required()}
    if unreadable & {"", *required}:
        raise PolicyRefused(f"the policy can't be read: {', '.join(where[:10])}") from None
    rest = {name: value for name, value in body.items() if name not in unreadable}
    policy = GatePolicy.model_validate_json(canonical(rest))
    unread = [f"{place} (unreadable)" for place in where[:10]]
    return policy.model_copy(update={"critical": (*policy.critical, *unread)})
