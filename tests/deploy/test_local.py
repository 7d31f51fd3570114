"""The parts together, without containers: a real Prometheus reads a real exporter."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.waiting import until

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
    until(lambda: note.exists() or process.poll() is not None)
    assert process.poll() is None
    yield folder, json.loads(note.read_text())
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def _ask(address: str, path: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{address}{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)["data"]


def _outputs(prometheus: str) -> float:
    found = _ask(prometheus, "/api/v1/query", query="sum(secondlook_outputs_total)")["result"]
    return float(found[0]["value"][1]) if found else 0.0


def _healths(prometheus: str) -> set[str]:
    return {one["health"] for one in _ask(prometheus, "/api/v1/targets")["activeTargets"]}


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
    until(lambda: _outputs(prometheus) == sent)
    until(lambda: _healths(prometheus) == {"up"})
    rules = yaml.safe_load((LOCAL.parent / "prometheus" / "rules.yml").read_text())
    groups = {group["name"] for group in _ask(prometheus, "/api/v1/rules")["groups"]}
    assert groups == {group["name"] for group in rules["groups"]}
    assert _ask(prometheus, "/api/v1/alertmanagers")["activeAlertmanagers"]
