"""The demo's report is what SQL, `account` and the exporter say too."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.app import resources as app_resources
from services.app import roles as app_roles
from services.app.resources import opened
from services.kit.settings import Settings
from tests.conftest import IN_CI
from tests.factories.broker import Broker, running_broker, why_no_kafka

_TICKETS = 80
_POLICY = """
version: 1
catch_all: {team: ticket-triage, sla: {claim: 30m, resolve: 2h}}
rules:
  - {id: all, when: {tool: "*"}, owner: {team: ticket-triage}}
"""


Played = tuple[Settings, dict[str, Any], dict[str, Any]]
"""The demo's settings, its report, and what `account` says after it."""


@pytest.fixture(scope="module")
def played(public_folder: Path) -> Played:
    """A demo by itself on a fresh folder: it starts a server and ends it."""
    return _play(public_folder / "demo")


def _play(folder: Path, **more: str) -> Played:
    """Play the demo in a folder. The routing policy names its team, which is not there before."""
    policy = folder.with_suffix(".yaml")
    policy.write_text(_POLICY)
    environment = os.environ | {
        "SECONDLOOK_DATA_DIR": str(folder),
        "SECONDLOOK_METRICS_PORT": "0",
        "SECONDLOOK_ROUTING_FILE": str(policy),
    }
    for name in ("SECONDLOOK_DATABASE_URL", "SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS"):
        environment.pop(name, None)
    environment |= more

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "services.cli", *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    report = run("demo", "--tickets", str(_TICKETS), "--seed", "3")
    return Settings(data_dir=folder), report, run("account")


@pytest.fixture
def empty_broker(public_folder: Path) -> Iterator[Broker]:
    """A broker on which no other test has our topics."""
    if (why := why_no_kafka()) is not None:
        assert not IN_CI, why
        pytest.skip(why)
    with running_broker(public_folder, briefly=True) as broker:
        yield broker


@pytest.mark.kafka
def test_both_logs_tell_the_same(played: Played, empty_broker: Broker, public_folder: Path) -> None:
    over_kafka = _play(
        public_folder / "demo-kafka", SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS=empty_broker.address
    )
    assert over_kafka[1] == played[1]
    assert over_kafka[2]["unexplained"] == 0
    assert over_kafka[2]["received"] == over_kafka[2]["stored"] == played[2]["stored"]


def test_report_agrees_with_sql_account_and_exporter(played: Played) -> None:
    settings, report, account = played
    with opened(settings, role="test") as resources:
        exported = _exported(resources)
        for version in report["versions"]:
            _agrees_with_sql(resources.database_url, version)
            _agrees_with_exporter(exported, version)
    sent = sum(version["outputs"] for version in report["versions"])
    assert account["unexplained"] == 0
    assert account["received"] == account["stored"] >= sent
    assert account["cases"]["open"] == account["cases"]["unowned"] == 0
    assert sum(v["counts"]["exceptions"] for v in report["versions"]) <= account["cases"]["closed"]


_MOST_OFTEN = """
SELECT o.value #>> '{}', count(*) FROM "case" c JOIN case_output o ON o.case_id = c.id
WHERE c.trigger <> 'audit' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1
"""


def test_replay_says_what_a_changed_rule_would_have_moved(played: Played, tmp_path: Path) -> None:
    settings, _, account = played
    with opened(settings, role="test") as resources, psycopg.connect(resources.database_url) as c:
        row = c.execute(_MOST_OFTEN).fetchone()
    assert row is not None
    category, moved = row
    rule = f"""rules:
  - id: cash
    when: {{predicted.category: "{category}"}}
    owner: {{team: cash-desk}}
    sla: {{claim: 10m, resolve: 2h}}"""
    against = tmp_path / "changed.yaml"
    against.write_text(_POLICY.replace("rules:", rule))
    command = ("route", "replay", "--since", "30d", "--against", str(against), "--json")
    environment = os.environ | {"SECONDLOOK_DATA_DIR": str(settings.data_dir)}
    for name in ("SECONDLOOK_DATABASE_URL", "SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    cases = account["cases"]["closed"]
    assert 0 < moved < cases
    assert (found["cases"], found["moved"], found["unowned"]) == (cases, moved, 0)
    assert found["teams"] == {
        "ticket-triage": {"before": cases, "after": cases - moved},
        "cash-desk": {"before": 0, "after": moved},
    }
    assert found["deadlines"] == {"earlier": moved, "later": 0}
    assert found["moves"] == [{"from": "ticket-triage", "to": "cash-desk", "cases": moved}]


_RECOUNT = """
SELECT count(*), count(*) FILTER (WHERE disposition = 'proceed'),
       count(*) FILTER (WHERE overridden), count(exception)
FROM output JOIN tool_version v ON v.id = output.version
WHERE coalesce(v.prompt, v.model) = %(v)s AND recorded_at IS NOT NULL
"""


def _agrees_with_sql(url: str, version: dict[str, Any]) -> None:
    with psycopg.connect(url) as connection:
        row = connection.execute(_RECOUNT, {"v": version["version"]}).fetchone()
    assert row is not None
    outputs, straight, overridden, exceptions = row
    assert version["outputs"] == outputs == _TICKETS
    assert version["coverage"] == pytest.approx(straight / outputs)
    assert version["override_rate"] == pytest.approx(overridden / outputs)
    assert version["exception_rate"] == pytest.approx(exceptions / outputs)


def _exported(resources: app_resources.Resources) -> dict[tuple[str, str], float]:
    """Sums of the exporter's counters by metric and version."""
    sums: dict[tuple[str, str], float] = {}
    for family in app_roles.make_collector(resources).collect():
        for sample in family.samples:
            key = (sample.name, sample.labels.get("version", ""))
            sums[key] = sums.get(key, 0) + sample.value
    return sums


def _agrees_with_exporter(exported: dict[tuple[str, str], float], version: dict[str, Any]) -> None:
    name = version["version"]
    assert exported["secondlook_outputs_total", name] == version["outputs"]
    assert exported["secondlook_matured_outputs_total", name] == version["counts"]["matured"]
    assert exported["secondlook_exceptions_total", name] == version["counts"]["exceptions"]
    overridden = exported["secondlook_overridden_outputs_total", name]
    withdrawn = exported["secondlook_overrides_withdrawn_total", name]
    assert overridden - withdrawn == version["counts"]["overridden"]
