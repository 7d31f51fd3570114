"""Commands on an installation of their own."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from secondlook import events
from typer.testing import CliRunner

from services.cli import app
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.eventlog.port import TopicSpec
from services.kit.eventlog.postgres import PostgresLog
from services.tools import keys as tool_keys
from tests.factories import POLICY, TOOL, Delivery, output, populate
from tests.factories.installation import cloned, make_template
from tests.factories.people import OPERATOR


def _fill(database: Database) -> None:
    populate(database)
    with database.transaction() as session:
        tool_keys.create_key(session, TOOL, actor=OPERATOR, now=DatabaseClock().now(session))
    log = PostgresLog(database.engine.url.render_as_string(hide_password=False))
    log.ensure_topics([TopicSpec(topic.name, 2) for topic in events.TOPICS])
    delivery = Delivery(database)
    delivery.take(output("o-1", confidence=0.1))
    delivery.take(b"nonsense", topic=events.OUTPUTS)
    log.close()


@cache
def _template(postgres_url: str) -> str:
    return make_template(postgres_url, _fill)


@pytest.fixture
def run(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Any]]:
    """Runs a command on an installation with a case and a dead letter."""
    policy = tmp_path / "routing.yaml"
    policy.write_text(POLICY)
    with cloned(postgres_url, _template(postgres_url)) as url:
        environment = {"DATABASE_URL": url, "DATA_DIR": tmp_path, "ROUTING_FILE": policy}
        for name, value in environment.items():
            monkeypatch.setenv(f"SECONDLOOK_{name}", str(value))
        runner = CliRunner()
        yield lambda *arguments: runner.invoke(app, list(arguments))
