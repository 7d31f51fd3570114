"""The parts together, without containers: a real Prometheus reads a real exporter."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LOCAL = Path(__file__).parent.parent.parent / "deploy" / "local.py"
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("prometheus-alertmanager")),
    reason="prometheus and prometheus-alertmanager are not installed",
)


@pytest.fixture
def parts(public_folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The command that docs/operating.md names, on the embedded log."""
    folder = public_folder / "local"
    command = [sys.executable, str(LOCAL), "--dir", str(folder), "--port", "0", "--without-kafka"]
    environment = os.environ | {"SCRAPE_INTERVAL": "1s"}
    process = subprocess.Popen(command, env=environment)
    note = folder / "parts.json"
    deadline = time.monotonic() + 90
    while not note.exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.2)
    yield folder, json.loads(note.read_text())
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def _ask(address: str, path: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{address}{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)["data"]


@needs_prometheus
def test_prometheus_reads_the_exporter_and_evaluates_the_rules(
    parts: tuple[Path, dict[str, str]],
) -> None:
    folder, addresses = parts
    environment = os.environ | {"SECONDLOOK_DATA_DIR": str(folder / "data")}
    demo = [sys.executable, "-m", "services.cli", "demo", "--tickets", "60", "--json"]
    played = subprocess.run(demo, env=environment, capture_output=True, text=True, check=True)
    sent = sum(version["outputs"] for version in json.loads(played.stdout)["versions"])
    prometheus = addresses["prometheus"]
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        found = _ask(prometheus, "/api/v1/query", query="sum(secondlook_outputs_total)")["result"]
        if found and float(found[0]["value"][1]) == sent:
            break
        time.sleep(0.5)
    assert float(found[0]["value"][1]) == sent
    targets = _ask(prometheus, "/api/v1/targets")["activeTargets"]
    assert {target["health"] for target in targets} == {"up"}
    assert len(_ask(prometheus, "/api/v1/rules")["groups"]) == 2
    assert _ask(prometheus, "/api/v1/alertmanagers")["activeAlertmanagers"]
