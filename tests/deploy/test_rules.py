"""Rules, alerts and dashboards: right, and about metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from services.insight.metrics import METRICS

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
TESTS = sorted(RULES.parent.glob("*_test.yml"))
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)


@needs_promtool
@pytest.mark.promtool
def test_alerts_fire_and_stay_quiet_as_they_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", *(path.name for path in TESTS)],
        cwd=RULES.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _alerts() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


def test_every_alert_is_tested_to_fire() -> None:
    fired = {
        case["alertname"]
        for path in TESTS
        for t in yaml.safe_load(path.read_text())["tests"]
        for case in t.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert fired == set(_alerts())


def test_every_alert_has_a_runbook() -> None:
    operating = (DEPLOY.parent / "docs" / "operating.md").read_text().lower()
    for alert in _alerts():
        assert f"### {alert.lower()}" in operating


@pytest.mark.parametrize("path", [RULES, DEPLOY / "grafana" / "secondlook.json"])
def test_every_metric_that_is_asked_for_is_exported(path: Path) -> None:
    recorded = set(re.findall(r"record: (\S+)", RULES.read_text()))
    exported = {
        name + ("_total" if d.kind.__name__.startswith("Counter") else "")
        for name, d in METRICS.items()
    }
    for name in set(re.findall(r"(?:tool:)?secondlook_[a-z0-9_:]+", path.read_text())):
        assert name in exported | recorded, name


def test_dashboard_is_what_the_generator_makes() -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("make", DEPLOY / "grafana" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert json.loads((DEPLOY / "grafana" / "secondlook.json").read_text()) == made.dashboard()


def test_compose_has_every_role_and_no_default_password() -> None:
    text = (DEPLOY / "compose.yml").read_text()
    compose = yaml.safe_load(text)
    roles = {"api", "ui", "feedback", "escalation", "notifications", "tick", "export", "migrate"}
    parts = {"kafka", "postgres", "prometheus", "alertmanager", "grafana"}
    assert set(compose["services"]) == roles | parts
    assert "PASSWORD: ${" in text
    assert ":-secondlook" not in text
