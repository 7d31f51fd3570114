"""Commands on an installation of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from secondlook import events
from typer.testing import CliRunner

from services.cli import app
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import TopicSpec
from services.kit.eventlog.postgres import PostgresLog
from services.tools import keys as tool_keys
from tests.factories import POLICY, TOOL, Delivery, output, populate
from tests.factories.people import OPERATOR


@pytest.fixture
def run(
    fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """Runs a command on an installation with a case and a dead letter."""
    url = fresh_database()
    policy = tmp_path / "routing.yaml"
    policy.write_text(POLICY)
    for name, value in (("DATABASE_URL", url), ("DATA_DIR", tmp_path), ("ROUTING_FILE", policy)):
        monkeypatch.setenv(f"SECONDLOOK_{name}", str(value))
    database, log = Database(make_engine(url)), PostgresLog(url)
    populate(database)
    with database.transaction() as session:
        tool_keys.create_key(session, TOOL, actor=OPERATOR, now=DatabaseClock().now(session))
    log.ensure_topics([TopicSpec(topic.name, 2) for topic in events.TOPICS])
    delivery = Delivery(database)
    delivery.take(output("o-1", confidence=0.1))
    delivery.take(b"nonsense", topic=events.OUTPUTS)
    log.close()
    database.close()
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, list(arguments))
