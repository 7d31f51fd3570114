"""What a tool's review conditions ask for together is bounded at the API as in the contract."""

from typing import Any

from secondlook.conditions import CHOICES
from secondlook.extent import PATTERN_CHARACTERS

from tests.factories import TOOL, rows
from tests.factories.api import Api

_PATTERNS = [
    {"id": f"c{n}", "when": {"attributes.a": [f"*{n:02}{k:02}{'x' * 5}" for k in range(10)]}}
    for n in range(PATTERN_CHARACTERS // 100)
]
_STORED = "SELECT review_when FROM gate_policy WHERE tool = :tool ORDER BY revision DESC LIMIT 1"


def _put(api: Api, conditions: list[Any]) -> Any:
    headers = api.bearer("admin.support")
    return api.client.put(f"/v1/tools/{TOOL}", json={"review_when": conditions}, headers=headers)


def _stored(api: Api) -> Any:
    ((conditions,),) = rows(api.database, _STORED, tool=TOOL)
    return conditions


def test_conditions_just_within_the_limit_are_taken(api: Api) -> None:
    plain = {"id": "plain", "when": {"attributes.a": [f"v{n}" for n in range(CHOICES)]}}
    assert _put(api, [*_PATTERNS, plain]).status_code == 200
    assert len(_stored(api)) == len(_PATTERNS) + 1


def test_one_pattern_more_is_refused_with_pointer_and_hint(api: Api) -> None:
    before = _stored(api)
    answer = _put(api, [*_PATTERNS, {"id": "more", "when": {"cohort": "*"}}])
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == f"/review_when/{len(_PATTERNS)}/when/cohort"
    assert "over 2,000 characters" in error["problem"]
    assert "in full" in error["hint"]
    assert _stored(api) == before
