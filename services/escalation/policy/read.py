"""Reading a routing policy from YAML. Pure.

A policy is a file kept in version control. What cannot be understood is refused with its line,
the rule and a hint, never passed over.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.escalation.policy.model import Place, RoutingPolicy
from services.kit import documents
from services.kit.documents import Words

_ELSEWHERE = {
    "review": (
        "the gate asks for reviews, not the routing policy",
        "Set it as `review_when` of the tool: `secondlook tools review-when SLUG --file FILE`.",
    ),
    "policies": ("ladders are called by their name", "Write `ladders:`."),
}


def read(text: str) -> RoutingPolicy:
    """Read a policy.

    Raises:
        InvalidInput: it is no YAML or no policy; every problem names its place and line.
    """
    found = documents.read(text, "The routing policy", begin_with="`version: 1` and `catch_all:`")
    policy = documents.checked(
        found, RoutingPolicy, explained_in="docs/routing.md", words=_words, name=_of_rule
    )
    revision = hashlib.sha256(text.encode()).hexdigest()[:12]
    lines = {place: found.line(place) for place in _places(policy)}
    return policy.model_copy(update={"revision": revision, "lines": lines})


def _places(policy: RoutingPolicy) -> Iterator[Place]:
    """Every place that somebody may be told about."""
    yield from (naming.place for naming in policy.namings)
    yield from (("tests", position) for position in range(len(policy.tests)))


def _words(item: Mapping[str, Any]) -> Words | None:
    """What is wrong with a key that means something elsewhere."""
    name = str(item["loc"][-1]) if item["loc"] else ""
    if item["type"] != "extra_forbidden":
        return None
    if len(item["loc"]) == 1 and name in _ELSEWHERE:
        return _ELSEWHERE[name]
    return None


def _of_rule(place: Sequence[Any], document: Mapping[str, Any]) -> str:
    """The id of the rule that an error is in: its author knows that better than its number."""
    if len(place) < 3 or place[0] != "rules":
        return ""
    rule = document["rules"][place[1]]
    named = rule.get("id") if isinstance(rule, dict) else None
    return f"rule '{str(named)[:63]}': " if named is not None else ""
