"""Writes the Grafana dashboard; run it after a change: python deploy/grafana/make.py."""

import json
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_SOURCE = {"type": "prometheus", "uid": "${source}"}


def panel(title: str, about: str, *queries: tuple[str, str], unit: str = "short") -> dict[str, Any]:
    """A time series of one or more queries (expression, legend)."""
    return {
        "type": "timeseries",
        "title": title,
        "description": about,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + n), "expr": expression, "legendFormat": legend}
            for n, (expression, legend) in enumerate(queries)
        ],
    }


PANELS = [
    panel(
        "Exception rate",
        "Outputs that opened a case, audits excluded, ÷ all outputs.",
        ("tool:secondlook_exception:ratio_increase1h", "{{tool}}, 1 h"),
        ("tool:secondlook_exception:ratio_increase28d", "{{tool}}, 28 d"),
        unit="percentunit",
    ),
    panel(
        "Override rate",
        "Overridden ÷ matured outputs. It is not an error rate.",
        ("tool:secondlook_override:ratio_increase24h", "{{tool}}, 24 h"),
        ("tool:secondlook_override:ratio_increase28d", "{{tool}}, 28 d"),
        unit="percentunit",
    ),
    panel(
        "Outputs by disposition",
        "Distinct outputs stored.",
        (
            "sum by (tool, disposition) (rate(secondlook_outputs_total[5m]))",
            "{{tool}} {{disposition}}",
        ),
        unit="ops",
    ),
    panel(
        "Coverage",
        "Share of outputs that the gate let through, last 28 days.",
        ("secondlook_coverage_ratio", "{{tool}} {{version}}"),
        unit="percentunit",
    ),
    panel(
        "Open cases",
        "Cases that wait or are being reviewed.",
        ("secondlook_open_cases", "{{queue}}"),
    ),
    panel(
        "Overdue cases", "Open cases past a deadline.", ("secondlook_overdue_cases", "{{queue}}")
    ),
    panel(
        "Age of the oldest open case",
        "Since it was opened.",
        ("time() - secondlook_oldest_open_case_timestamp_seconds", "{{queue}}"),
        unit="s",
    ),
    panel(
        "Consumer lag",
        "Events on the log that wait to be taken.",
        ("sum by (consumer, topic) (secondlook_consumer_lag_events)", "{{consumer}} {{topic}}"),
    ),
    panel(
        "Dead letters that wait",
        "Events that could not be used and that nobody has retried.",
        ("secondlook_dead_letters_waiting", "{{topic}}"),
    ),
    panel(
        "Verdicts",
        "What owners decided.",
        (
            "sum by (tool, verdict) (increase(secondlook_verdicts_total[1h]))",
            "{{tool}} {{verdict}}",
        ),
    ),
]


def dashboard() -> dict[str, Any]:
    """The whole dashboard, two panels a row."""
    for number, one in enumerate(PANELS):
        one["id"] = number + 1
        one["gridPos"] = {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)}
    return {
        "title": "Secondlook",
        "uid": "secondlook",
        "schemaVersion": 39,
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "1m",
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus", "label": "Source"}
            ]
        },
        "panels": PANELS,
    }


if __name__ == "__main__":
    written = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    (_HERE / "secondlook.json").write_text(written, encoding="utf-8")
