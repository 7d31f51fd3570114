"""Rates where cases are counted and their outputs are not: never, not yet, or not any more."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from services.app import roles as app_roles
from services.feedback import service
from services.kit.clock import DatabaseClock
from tests.api.test_authorisation import signed_in
from tests.factories import TOOL, as_batches, correction, failure, output
from tests.factories.api import Api, open_api


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """The apps with their pages, over a database of this test's own."""
    with open_api(postgres_url, pages=True) as opened:
        yield opened


def rates(api: Api) -> dict[str, Any]:
    """What the API says of the tool, after the pages have been seen to answer."""
    page = signed_in(api, "lead.support")
    for path in ("/health", f"/health/{TOOL}"):
        assert page("GET", path).status_code == 200, path
    answer = api.client.get(f"/v1/rates?tool={TOOL}", headers=api.bearer("lead.support"))
    assert answer.status_code == 200
    return dict(answer.json())


def exported(api: Api, name: str) -> float:
    """The sum of a metric's samples."""
    families = app_roles.make_collector(api.resources).collect()
    return sum(s.value for family in families for s in family.samples if s.name == name)


def find_unmatched(api: Api) -> None:
    """The time that a correction waits for its output is over."""
    with api.database.transaction() as session:
        now = DatabaseClock().now(session)
        service.report_unmatched(session, now=now, before=now + timedelta(hours=1))
    api.log.relay()


def test_rates_leave_out_corrections_whose_output_never_came(api: Api) -> None:
    api.log.take(output("o-1"), *(correction(f"gone-{n}", value="tax") for n in range(2)))
    find_unmatched(api)
    assert exported(api, "secondlook_cases_total") == 2
    assert exported(api, "secondlook_exceptions_total") == 0
    rate = rates(api)["exception_rate"]
    assert (rate["numerator"], rate["n"]) == (0, 1)


def test_rates_leave_out_unmatched_corrections_of_a_tool_without_outputs(api: Api) -> None:
    api.log.take(correction("gone", value="tax"))
    find_unmatched(api)
    found = rates(api)
    for name in ("exception_rate", "override_rate", "coverage"):
        assert (found[name]["numerator"], found[name]["n"]) == (0, 0)
        assert found[name]["value"] is found[name]["interval"] is None


def test_exception_is_counted_with_its_output(api: Api) -> None:
    sent = [output("o-2", confidence=0.1), output("o-3", confidence=0.1), failure("o-4")]
    batches = as_batches(api.log.records([output("o-1"), *sent]))
    # Whatever escalation does with it: who decides that a person is needed counts it.
    api.log.feed(api.log.feedback, batches)
    rate = rates(api)["exception_rate"]
    assert (rate["numerator"], rate["n"]) == (3, 4)


def test_late_dispute_counts_in_the_window_of_its_output(api: Api) -> None:
    api.log.take(output("old-1"), output("old-2"))
    with api.database.engine.begin() as connection:
        for change in (
            "UPDATE hourly_count SET hour = hour - interval '60 days'",
            "UPDATE output SET recorded_at = recorded_at - interval '60 days'",
        ):
            connection.exec_driver_sql(change)
    api.log.take(*(correction(f"old-{n}", kind="dispute") for n in (1, 2)), output("new"))
    rate = rates(api)["exception_rate"]
    assert (rate["numerator"], rate["n"]) == (0, 1)


def test_chart_draws_limits_from_enough_days_only(api: Api) -> None:
    page = signed_in(api, "lead.support")
    api.log.take(*(output(f"o-{n}", confidence=0.1 + n / 10) for n in range(9)))
    shown = page("GET", f"/health/{TOOL}").text
    assert "drawn from 8 days with outputs; there is 1 so far" in shown
    assert "limit-line" not in shown
    assert 'class="band"' not in page("GET", "/health").text
    with api.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO hourly_count"
            " SELECT measure, tool, hour - days.back * interval '1 day', version, label, shard, n"
            " FROM hourly_count, generate_series(1, 7) AS days(back)"
        )
    shown = page("GET", f"/health/{TOOL}").text
    assert "so far" not in shown
    assert "limit-line" in shown
    assert 'class="band"' in page("GET", "/health").text
