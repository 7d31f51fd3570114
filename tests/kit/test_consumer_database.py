"""The database's own troubles are waited for, and nothing is held against the records."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text

from services.kit.database import is_infrastructure, make_engine
from services.kit.eventlog.port import (
    LogUnavailable,
)
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from tests.conftest import build_schema
from tests.kit.logs import running
from tests.kit.rig import Rig, make_rig
from tests.waiting import until


def test_lost_database_is_waited_for(memory_folder: Path) -> None:
    server = EmbeddedPostgres(memory_folder / uuid4().hex)
    server.start()
    build_schema(server.url)
    rig = make_rig(server.url)
    rig.append(*map(str, range(50)))
    with running(rig.consumer()):
        until(rig.done(50))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: rig.counted["log"] + rig.counted["database"])
        until(server.ensure_running)
        until(lambda: _appended(rig, "after"))
        until(lambda: "after" in _effects_or_none(rig))
    assert rig.effects() == [*(str(i) for i in range(50)), "after"]
    rig.log.close()
    rig.database.close()
    server.stop()


def _appended(rig: Rig, value: str) -> bool:
    try:
        rig.append(value)
    except LogUnavailable:
        return False
    return True


def _effects_or_none(rig: Rig) -> list[str]:
    try:
        return rig.effects()
    except sqlalchemy.exc.OperationalError:
        return []


def test_ended_connection_costs_nothing(rig: Rig) -> None:
    with running(rig.consumer()):
        for round_ in range(5):
            rig.append(str(round_))
            rig.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            until(rig.done(round_ + 1))
    assert rig.effects() == ["0", "1", "2", "3", "4"]
    assert rig.counted["rejected OperationalError"] == 0


@pytest.mark.parametrize(
    ("statement", "speaks_of_the_server"),
    [
        ("SELECT 1 / 0", False),
        ("INSERT INTO log_partition (topic, number) VALUES ('topic', 0)", False),
        (
            "INSERT INTO keyed SELECT string_agg(md5(g::text), '') FROM generate_series(1, 999) g",
            False,
        ),
        ("SELECT convert_from('\\x00', 'UTF8')", False),
        ("SET statement_timeout = 10; SELECT pg_sleep(1)", True),
        ("SELECT pg_terminate_backend(pg_backend_pid())", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'standby' USING ERRCODE = '25006'; END $$", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'broken file' USING ERRCODE = 'XX001'; END $$", True),
    ],
)
def test_errors_of_the_server_are_told_from_errors_of_data(
    rig: Rig, statement: str, speaks_of_the_server: bool
) -> None:
    with rig.database.transaction() as session:
        session.execute(text("CREATE TABLE keyed (c text PRIMARY KEY)"))
    for run in (_through_sqlalchemy, _through_psycopg):
        error = run(rig, statement)
        assert error is not None
        assert is_infrastructure(error) is speaks_of_the_server


def _through_sqlalchemy(rig: Rig, statement: str) -> Exception | None:
    try:
        with rig.database.engine.connect() as connection:
            connection.exec_driver_sql(statement)
    except sqlalchemy.exc.DBAPIError as error:
        return error
    return None


def _through_psycopg(rig: Rig, statement: str) -> Exception | None:
    try:
        with psycopg.connect(rig.url) as connection:
            connection.execute(statement)
    except psycopg.Error as error:
        return error
    return None


def test_absent_server_is_infrastructure(free_port: Callable[[], int]) -> None:
    address = f"postgresql://u:p@127.0.0.1:{free_port()}/d"
    engine = make_engine(address)
    with pytest.raises(sqlalchemy.exc.OperationalError) as through_sqlalchemy:
        engine.connect()
    with pytest.raises(psycopg.OperationalError) as through_psycopg:
        psycopg.connect(address)
    assert is_infrastructure(through_sqlalchemy.value)
    assert is_infrastructure(through_psycopg.value)
    assert not is_infrastructure(ValueError())
    engine.dispose()
