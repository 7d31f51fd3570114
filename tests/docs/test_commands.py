"""The README's way of connecting a tool, typed as it stands there."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.factories import POLICY
from tests.factories.command import secondlook

ROOT = Path(__file__).parent.parent.parent


def test_connect_a_tool_as_the_readme_says(
    fresh_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = (ROOT / "README.md").read_text().partition("## Connect a tool")[2]
    block = re.search(r"```\n(.+?)```", section, re.DOTALL)
    assert block is not None
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", fresh_database())
    monkeypatch.setenv("SECONDLOOK_DATA_DIR", str(tmp_path))
    script = block[1].replace(".venv/bin/secondlook", f"{sys.executable} -m services.cli")
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=None,
    )
    assert done.returncode == 0, done.stderr
    assert "/sign-in/sll_" in done.stdout
    assert re.search(r"^sl_[a-z0-9]{8}_\w+$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["tools", "add", "Bad Slug", "--kind", "category", "--team", "x"], 1, "slug"),
        (["tools", "add", "t", "--kind", "nonsense", "--team", "x"], 2, "kind"),
        (["people", "add", "nobody", "--name", "N", "--role", "rep"], 1, "e-mail"),
        (["people", "link", "nobody@example.org"], 1, "nobody@example.org"),
        (["keys", "create", "nothing"], 1, "nothing"),
        (["dead-letters", "show", "7"], 1, "7"),
        (["route", "check"], 1, "SECONDLOOK_ROUTING_FILE"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_wrong_command_says_what_and_why(
    arguments: list[str],
    code: int,
    says: str,
    fresh_database: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", fresh_database())
    done = secondlook(*arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("LEASE", "soon"),
        ("LEASE", "0s"),
        ("LOG_LEVEL", "loud"),
        ("ROUTING_FILE", "/nowhere"),
        ("TIMEZONE", "Mars/X"),
        ("DATABASE_URL", "mysql://x"),
        ("KAFKA_SASL_PASSWORD_FILE", "/nowhere"),
        ("PUBLIC_URL", "javascript:1"),
        ("METRICS_PRT", "9464"),
        ("METRICS_PORT", "65535"),
    ],
)
def test_setting_that_cannot_be_used_is_named(
    name: str,
    value: str,
    fresh_database: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", fresh_database())
    monkeypatch.setenv("SECONDLOOK_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SECONDLOOK_METRICS_PORT", "0")
    monkeypatch.setenv(f"SECONDLOOK_{name}", value)
    done = secondlook("run", *([] if name == "PORT" else ["--port", "0"]))
    assert done.returncode == 1
    assert f"SECONDLOOK_{name}" in done.stderr
    assert "Traceback" not in done.stderr


def test_taken_metrics_port_is_named_before_anything_starts(
    fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("SECONDLOOK_DATABASE_URL", fresh_database())
        monkeypatch.setenv("SECONDLOOK_DATA_DIR", str(tmp_path))
        monkeypatch.setenv("SECONDLOOK_METRICS_PORT", str(taken.getsockname()[1] - 2))
        done = secondlook("run", "--port", "0")
    assert done.returncode == 1
    assert "SECONDLOOK_METRICS_PORT" in done.stderr
    assert "ready" not in done.stdout


@pytest.fixture
def unreachable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The settings name a database that is not there."""
    url = f"postgresql://us:sekret@127.0.0.1:{free_port()}/x"
    policy = tmp_path / "routing.yaml"
    policy.write_text(POLICY)
    given = {"DATABASE_URL": url, "DATA_DIR": tmp_path, "ROUTING_FILE": policy, "METRICS_PORT": 0}
    for name, value in given.items():
        monkeypatch.setenv(f"SECONDLOOK_{name}", str(value))


@pytest.mark.parametrize(
    "command",
    ["run --port 0", "demo", "migrate", "people list", "account", "consume escalation"],
)
@pytest.mark.usefixtures("unreachable")
def test_database_that_is_not_there_is_named(command: str) -> None:
    done = secondlook(*command.split())
    assert done.returncode == 1
    assert "The database cannot be reached: " in done.stderr
    assert "SECONDLOOK_DATABASE_URL" in done.stderr
    assert "sekret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("unreachable")
def test_doctor_finds_the_database_that_is_not_there() -> None:
    done = secondlook("doctor", "--json")
    (finding,) = json.loads(done.stdout)
    assert done.returncode == 1
    assert finding["looked_at"] == "database"
    assert "SECONDLOOK_DATABASE_URL" in finding["problem"]
    assert "sekret" not in done.stdout


@pytest.mark.parametrize("command", ["people list", "account"])
def test_wrong_database_is_named(
    command: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", f"{postgres_url}_nowhere")
    done = secondlook(*command.split())
    assert done.returncode == 1
    assert "SECONDLOOK_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["people list", "account", "doctor"])
def test_database_without_tables_is_named(
    command: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", postgres_url)
    done = secondlook(*command.split())
    assert done.returncode == 1
    assert "secondlook migrate" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["export", "tick", "consume feedback"])
def test_role_by_itself_names_the_taken_metrics_port(
    command: str, fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"export": 0, "consume feedback": 1, "tick": 3}[command]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("SECONDLOOK_DATABASE_URL", fresh_database())
        monkeypatch.setenv("SECONDLOOK_METRICS_PORT", str(taken.getsockname()[1] - place))
        done = secondlook(*command.split())
    assert done.returncode == 1
    assert "SECONDLOOK_METRICS_PORT" in done.stderr
    assert "Traceback" not in done.stderr
