"""Writes docs/settings.md, docs/metrics.md and docs/commands.md from the code they describe."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo

from services.cli import app
from services.insight.metrics import METRICS, VERSIONS_SHOWN
from services.kit.consuming.metrics import PROCESS_METRICS
from services.kit.durations import Duration
from services.kit.settings import DURATION, PREFIX, RETENTION, Settings

HERE = Path(__file__).parent


def settings() -> str:
    """A row a setting."""
    rows = [
        "# Settings",
        "",
        "Environment variables. A secret can come from a file: `…_FILE` names it. Durations:",
        "`30s`, `15m`, `2h`, `3d`. Whatever cannot be used is refused at the start, by name.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{PREFIX}{name.upper()}` | {_default(name, field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _default(name: str, field: FieldInfo) -> str:
    """What a setting is when nobody says, as somebody would say it."""
    if name == "data_dir":
        return "the user's data folder"
    if field.default is None or field.default == ():
        return "`forever`" if RETENTION in field.metadata else "none"
    lasting = DURATION in field.metadata or RETENTION in field.metadata
    return f"`{Duration(field.default) if lasting else field.default}`"


def metrics() -> str:
    """A row a metric."""
    rows = [
        "# Metrics",
        "",
        "Served by `secondlook export`. Counts are read from the database, where they are kept",
        "in the transaction of the facts that they count. Rates are for Prometheus to divide;",
        "leaders' numbers come from the API (`/v1/rates`), with n and interval.",
        "",
        f"Of each tool {VERSIONS_SHOWN} versions have series: those counted on the latest day, the",
        "busiest first. The series of any other end, and go on from its count when it comes back.",
        "Where more are in use on one day, the counts here and the alerts on them are too low, so",
        "keep dates and run numbers out of `model` and `prompt`; the API counts every version.",
        "",
        "| metric | labels | meaning |",
        "|---|---|---|",
    ]
    for declared in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in declared.labels) or "none"
        rows.append(f"| `{declared.sample}` | {labels} | {declared.meaning} |")
    rows += [
        "",
        "Each consumer's own process tells these beside the usual process metrics, since it",
        "started, on the exporter's port plus 1 (feedback), 2 (escalation) or 4 (notifications).",
        "",
        "| metric | meaning |",
        "|---|---|",
    ]
    for family in (family for metric in PROCESS_METRICS for family in metric.describe()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append(f"| `{name}` | {family.documentation} |")
    return "\n".join(rows) + "\n"


def commands() -> str:
    """A row a command."""
    rows = [
        "# Commands",
        "",
        "`--json` on every command that prints something. Exit 0: done; 1: not done, the reason on",
        "stderr; 2: wrong usage.",
        "",
        "| command | does |",
        "|---|---|",
    ]
    rows += [f"| `secondlook {name}` | {said} |" for name, said in each_command()]
    return "\n".join(rows) + "\n"


def each_command() -> Iterator[tuple[str, str]]:
    """Every command with the first line of its help."""
    yield from _walk(typer.main.get_command(app), "")


def _walk(command: Any, name: str) -> Iterator[tuple[str, str]]:
    if hasattr(command, "commands"):
        for inner in command.commands.values():
            yield from _walk(inner, f"{name} {inner.name}".strip())
    else:
        yield name, (command.help or "").partition("\n")[0]


DOCUMENTS = {"settings.md": settings, "metrics.md": metrics, "commands.md": commands}

if __name__ == "__main__":
    for file, write in DOCUMENTS.items():
        (HERE / file).write_text(write(), encoding="utf-8")
