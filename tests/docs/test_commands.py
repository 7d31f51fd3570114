"""The README's way of connecting a tool, typed as it stands there."""

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
    command = [sys.executable, "-m", "services.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
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
    command = [sys.executable, "-m", "services.cli", "run", "--port", "0"]
    if name == "PORT":
        command = command[:-2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
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
        command = [sys.executable, "-m", "services.cli", "run", "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "SECONDLOOK_METRICS_PORT" in done.stderr
    assert "ready" not in done.stdout
