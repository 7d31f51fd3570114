"""Schemathesis over the API's own description: nothing that it says makes the server fail."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.app import web as app_web
from tests.browser.harness import serve_app
from tests.factories import output
from tests.factories.api import Api, open_api

FAILED, REFUSED = 500, 400


@pytest.fixture(scope="module")
def described(postgres_url: str) -> Iterator[Api]:
    """An installation with a case, an output and everything that the paths speak of."""
    with open_api(postgres_url) as opened:
        opened.log.take(output("o-1", confidence=0.1))
        yield opened


def test_no_request_makes_the_server_fail(described: Api) -> None:
    import schemathesis  # Loaded here, as it takes seconds and every worker reads this file.

    document = json.loads(described.client.get("/openapi.json").text)
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    with serve_app(app_web.make_api(described.resources)) as address:
        for operation in operations:
            _try(operation, described, address)


def _try(operation: Any, api: Api, address: str) -> None:
    """Make requests of all shapes, good and bad, to one operation."""
    from schemathesis import GenerationMode

    @given(
        case=st.one_of(
            operation.as_strategy(),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        )
    )
    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def once(case: Any) -> None:
        who = "tool" if case.path in _BY_TOOLS else "admin.support"
        if case.path == "/v1/policy" and case.query:
            case.query["wait"] = 0
        answer = case.call(base_url=address, headers=api.bearer(who))
        assert answer.status_code < FAILED, answer.text
        if answer.status_code >= REFUSED:
            assert "application/problem+json" in "".join(answer.headers["content-type"])

    once()


_BY_TOOLS = {"/v1/events", "/v1/outputs", "/v1/corrections", "/v1/policy"}
