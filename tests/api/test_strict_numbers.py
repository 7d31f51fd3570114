"""A number is a number: what JSON can say that is none is refused, and nothing is stored."""

from typing import Any

import pytest

from tests.factories import TOOL, rows
from tests.factories.api import Api

_FIELDS = ("threshold", "audit_rate", "holdout_rate", "maturity_seconds", "max_stale_seconds")
_STORED = "SELECT * FROM tool, gate_policy ORDER BY gate_policy.revision"


@pytest.mark.parametrize("value", [True, False, "1", [1]])
@pytest.mark.parametrize("field", [*_FIELDS, "category_thresholds"])
def test_tool_takes_numbers_alone(field: str, value: Any, untouched: Api) -> None:
    given = {"billing": value} if field == "category_thresholds" else value
    answer = untouched.client.put(
        f"/v1/tools/{TOOL}", json={field: given}, headers=untouched.bearer("admin.support")
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(f"/{field}")


@pytest.mark.parametrize("value", [True, "1", 1.5])
def test_level_is_a_whole_number(value: Any, untouched: Api) -> None:
    answer = untouched.client.post(
        "/v1/cases/1/escalate", json={"level": value}, headers=untouched.bearer("owner.support")
    )
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/level"]


def test_numbers_are_taken_in_every_form(api: Api) -> None:
    given = {"threshold": 1, "audit_rate": 0.5, "maturity_seconds": 60, "max_stale_seconds": None}
    answer = api.client.put(f"/v1/tools/{TOOL}", json=given, headers=api.bearer("admin.support"))
    assert answer.status_code == 200
    stored = "SELECT maturity_seconds FROM tool WHERE slug = :tool"
    assert [row[0] for row in rows(api.database, stored, tool=TOOL)] == [60]
