"""What Prometheus is told: bounded, and rising."""

from itertools import count
from typing import Any

import pytest
from sqlalchemy.orm import Session

from services.app import roles as app_roles
from services.insight.metrics import VERSIONS_SHOWN
from services.kit import counts
from services.kit.clock import DatabaseClock
from services.tools import service as tool_service
from tests.factories import FOREIGN, TOOL, correction, output
from tests.factories.api import Api
from tests.factories.people import OPERATOR


def take(api: Api, *versions: int, of: str = "o") -> None:
    """An output of each version, disputed."""
    api.log.take(*(output(f"{of}-{n}", version={"model": f"m-{n}"}) for n in versions))
    api.log.take(*(correction(f"{of}-{n}", kind="dispute") for n in versions))


def exported(api: Api) -> list[Any]:
    """Every sample that has a version."""
    families = app_roles.make_collector(api.resources).collect()
    return [s for family in families for s in family.samples if "version" in s.labels]


def of_tools(api: Api) -> dict[tuple[str, str], float]:
    """The counts that alerts go by, of all versions of a tool together."""
    families = app_roles.make_collector(api.resources).collect()
    samples = [s for family in families for s in family.samples]
    return {
        (s.labels["tool"], s.name.removeprefix("secondlook_tool_").removesuffix("_total")): s.value
        for s in samples
        if s.name.startswith("secondlook_tool_") and s.name.endswith("_total")
    }


def shown(samples: list[Any]) -> set[int]:
    """The numbers of the versions that have series."""
    return {int(s.labels["version"].removeprefix("m-")) for s in samples}


def age(api: Api) -> None:
    """Version n was counted n days ago, some of them before the window."""
    with api.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE hourly_count c SET hour = c.hour - interval '1 day'"
            " * CAST(substr(v.model, 3) AS int) FROM tool_version v WHERE v.id = c.version"
        )


def test_exporter_shows_the_versions_counted_last(api: Api) -> None:
    versions = VERSIONS_SHOWN + 12
    take(api, *range(versions))
    age(api)
    samples = exported(api)
    assert shown(samples) == set(range(VERSIONS_SHOWN))
    assert len(samples) <= VERSIONS_SHOWN * 40


def test_exporter_shows_the_busiest_of_those_counted_on_the_same_day(api: Api) -> None:
    versions = VERSIONS_SHOWN + 2
    take(api, *range(versions))
    take(api, 0, 1, of="again")
    found = shown(exported(api))
    assert len(found) == VERSIONS_SHOWN
    assert {0, 1} <= found


def test_version_that_comes_back_goes_on_from_its_count(api: Api) -> None:
    last = VERSIONS_SHOWN + 11
    take(api, *range(last + 1))
    age(api)
    assert last not in shown(exported(api))
    take(api, last, of="again")
    samples = exported(api)
    assert shown(samples) == {*range(VERSIONS_SHOWN - 1), last}
    for name in ("outputs", "exceptions", "cases", "matured_outputs", "corrections"):
        found = [
            s.value
            for s in samples
            if s.name == f"secondlook_{name}_total" and s.labels["version"] == f"m-{last}"
        ]
        assert sum(found) == 2, name


def test_exporter_shows_every_word_of_a_version_from_the_start(api: Api) -> None:
    api.log.take(output("o-1", version={"model": "m-1"}))
    found = {
        s.labels["trigger"]: s.value
        for s in exported(api)
        if s.name == "secondlook_exceptions_total"
    }
    assert found == dict.fromkeys(("low_confidence", "dispute", "tool_failure", "policy"), 0)
    (coverage,) = (s for s in exported(api) if s.name == "secondlook_coverage_ratio")
    assert (coverage.labels, coverage.value) == ({"tool": TOOL, "version": "m-1"}, 1)


def test_counters_of_what_is_mature_hold_while_outputs_come(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    with api.database.transaction() as session:
        now = DatabaseClock().now(session)
        change = {"maturity_seconds": 3_600}
        tool_service.change_tool(session, TOOL, change, actor=OPERATOR, now=now)
    api.log.take(output("o-1"))
    read, number = counts.totals, count()

    def interrupted(session: Session) -> list[counts.Total]:
        found = read(session)
        api.log.take(output(f"meanwhile-{next(number)}"))
        return found

    monkeypatch.setattr(counts, "totals", interrupted)
    matured = [s.value for s in exported(api) if s.name == "secondlook_matured_outputs_total"]
    assert set(matured) == {0}


def test_tool_has_its_own_counts_from_its_registration_on(api: Api) -> None:
    """A version's first batch is an increase of something, though the version's own is none."""
    names = ("outputs", "exceptions", "matured_outputs", "overridden_outputs")
    names += ("overrides_withdrawn",)
    at_first = {(tool, name): 0.0 for tool in (TOOL, FOREIGN) for name in names}
    assert of_tools(api) == at_first
    take(api, *range(VERSIONS_SHOWN + 2))
    api.log.take(correction("o-1", value="tax", minutes=2))
    many = VERSIONS_SHOWN + 2
    assert of_tools(api) == at_first | {
        (TOOL, "outputs"): many,
        (TOOL, "exceptions"): many,
        (TOOL, "matured_outputs"): many,
        (TOOL, "overridden_outputs"): 1,
    }
