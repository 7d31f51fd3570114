"""Reading a routing policy from YAML. Pure.

A policy is a file kept in version control. What cannot be understood is refused with its line,
the rule and a hint, never passed over.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from services.escalation.policy.model import Place, RoutingPolicy
from services.kit.errors import InvalidInput, Problem
from services.kit.strict_yaml import StrictLoader

_NOT_YET = ("skills", "assign", "group", "calendar", "schedule")
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
    document, node = _read_yaml(text)
    if not isinstance(document, dict):
        found = Problem("/", "it is no mapping", "Begin with `version: 1` and `catch_all:`.")
        raise InvalidInput("The routing policy is no mapping.", problems=(found,))
    try:
        policy = RoutingPolicy.model_validate(document)
    except ValidationError as error:
        problems = tuple(_problem(item, document, node) for item in error.errors(include_url=False))
        detail = "; ".join(f"{p.pointer or '/'}: {p.problem}" for p in problems)
        raise InvalidInput(f"The routing policy: {detail}", problems=problems) from None
    revision = hashlib.sha256(text.encode()).hexdigest()[:12]
    lines = {place: _line(node, place) for place in _places(policy)}
    return policy.model_copy(update={"revision": revision, "lines": lines})


def _places(policy: RoutingPolicy) -> Iterator[Place]:
    """Every place that somebody may be told about."""
    yield from (naming.place for naming in policy.namings)
    yield from (("tests", position) for position in range(len(policy.tests)))


def _read_yaml(text: str) -> tuple[Any, yaml.Node | None]:
    """The document, and its nodes, which know their lines."""
    try:
        document = yaml.load(text, StrictLoader)  # noqa: S506 - it is a SafeLoader
        return document, yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or "it cannot be read"
        found = Problem(
            place, f"it is no YAML: {said}", "Check keys, indentation and quotes there."
        )
        detail = f"The routing policy is no YAML ({place}): {said}."
        raise InvalidInput(detail, problems=(found,)) from None


def _line(node: yaml.Node | None, place: Sequence[Any]) -> int:
    """The line of what stands at a place, or of what comes nearest to it; the first is 1."""
    line = 1
    for step in place:
        found = _below(node, step)
        if found is None:
            break
        at, node = found
        line = at.start_mark.line + 1
    return line


def _below(node: yaml.Node | None, step: Any) -> tuple[yaml.Node, yaml.Node] | None:
    """The node one step further down, after the one that says where it is: its key, or itself."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if str(key.value) == str(step):
                return key, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def _problem(item: Any, document: Mapping[str, Any], node: yaml.Node | None) -> Problem:
    problem, hint = _problem_and_hint(item)
    place = [*item["loc"], *item.get("ctx", {}).get("at", ())]
    words = f"line {_line(node, place)}: {_of_rule(place, document)}{problem}"
    return Problem("".join(f"/{step}" for step in place) or "/", words, hint)


def _problem_and_hint(item: Any) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    name = str(item["loc"][-1]) if item["loc"] else ""
    if "hint" in item.get("ctx", {}):
        return item["ctx"]["problem"], item["ctx"]["hint"]
    if item["type"] == "extra_forbidden":
        if len(item["loc"]) == 1 and name in _ELSEWHERE:
            return _ELSEWHERE[name]
        if name in _NOT_YET:
            return f"'{name}' is not supported yet", "Leave it out."
        return f"'{name[:40]}' is no key here", "Check its spelling."
    if item["type"] == "missing":
        return "it is missing", "Add it; docs/routing.md shows a whole policy."
    if item["type"] == "string_pattern_mismatch":
        return (
            f"'{str(item['input'])[:70]}' is no slug",
            "Use 1 to 63 lower-case letters, digits and hyphens, a letter or digit first.",
        )
    return item["msg"].removeprefix("Value error, "), "docs/routing.md says what stands here."


def _of_rule(place: Sequence[Any], document: Mapping[str, Any]) -> str:
    """The id of the rule that an error is in: its author knows that better than its number."""
    if len(place) < 3 or place[0] != "rules":
        return ""
    rule = document["rules"][place[1]]
    named = rule.get("id") if isinstance(rule, dict) else None
    return f"rule '{str(named)[:63]}': " if named is not None else ""
