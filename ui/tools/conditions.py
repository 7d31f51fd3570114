"""Review conditions as a form: one name and its clauses each, with what is wrong beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from services.kit.errors import InvalidInput, Problem
from services.kit.strict_yaml import StrictLoader
from services.tools import queries as tool_queries
from ui.kit.forms import Form, split_lines

FIELD = "review_when"
"""What the tools' service calls the list of them."""

_MOST = 200
_LINES_BYTES = 16 * 1024
_EXAMPLE = "Write clauses such as confidence: {lt: 0.5}"


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """One condition as it is typed; a row in which nothing is typed is none."""

    name: str = ""
    clauses: str = ""
    name_error: str = ""
    clauses_error: str = ""

    @property
    def blank(self) -> bool:
        """Whether nothing is typed here."""
        return not self.name and not self.clauses.strip()


def condition_rows(tool: tool_queries.ToolInfo) -> list[ConditionRow]:
    """The conditions in force, and a blank row for another."""
    return [ConditionRow(one["id"], clause_lines(one["when"])) for one in conditions_of(tool)]


def conditions_of(tool: tool_queries.ToolInfo) -> list[dict[str, Any]]:
    """The conditions of the policy in force, as they are set."""
    return [one.model_dump(exclude_none=True) for one in tool.policy.review_when]


def clause_lines(when: Mapping[str, Any]) -> str:
    """Clauses as somebody would type them, one a line."""
    return "\n".join(f"{_flow(fact)}: {_flow(clause)}" for fact, clause in when.items())


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    width = float("inf")
    dumped: str = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=width
    )
    return dumped.removesuffix("...\n").rstrip("\n")


def typed_rows(form: Form) -> list[ConditionRow]:
    """What was typed, blank rows too, in the order of the page."""
    names, clauses = form.all("condition"), form.all("when")
    return [
        ConditionRow(name.strip(), "\n".join(split_lines(lines)))
        for name, lines in zip(names[:_MOST], clauses[:_MOST], strict=False)
    ]


def read_conditions(rows: Sequence[ConditionRow]) -> list[dict[str, Any]]:
    """The typed conditions as they are set.

    Raises:
        InvalidInput: clauses cannot be read; each problem points to `/review_when/<row>/when`.
    """
    found, problems = [], []
    for number, row in enumerate(row for row in rows if not row.blank):
        try:
            found.append({"id": row.name, "when": _read_clauses(row.clauses)})
        except ValueError as error:
            problems.append(Problem(f"/{FIELD}/{number}/when", str(error), f"{_EXAMPLE}."))
    if problems:
        raise InvalidInput("Some clauses cannot be read.", problems=tuple(problems))
    return found


def with_errors(rows: Sequence[ConditionRow], error: InvalidInput) -> list[ConditionRow]:
    """The rows with each problem beside the name or the clauses that it is about."""
    numbers = [at for at, row in enumerate(rows) if not row.blank]
    marked = list(rows)
    for problem in error.problems:
        row, part, clause = _place(problem.pointer)
        at = numbers[row] if row < len(numbers) else None
        if at is None:
            continue
        said = f"{f'{clause}: ' if clause else ''}{problem.problem}. {problem.hint}"
        field = "name_error" if part == "id" else "clauses_error"
        before = getattr(marked[at], field)
        marked[at] = replace(marked[at], **{field: f"{before} {said}".strip()})
    return marked


def _place(pointer: str) -> tuple[int, str, str]:
    """Row, part of it and clause that a problem such as `/review_when/0/when/kind` is about."""
    _, _, row, part, clause = (*pointer.split("/", 4), *("",) * 5)[:5]
    number = int(row) if row.isascii() and row.isdigit() else 0
    return number, part, clause.replace("~1", "/").replace("~0", "~")


def row_errors(rows: Sequence[ConditionRow]) -> dict[str, str]:
    """Every error by the control that it stands at."""
    errors = {}
    for number, row in enumerate(rows, start=1):
        if row.name_error:
            errors[f"condition-{number}"] = row.name_error
        if row.clauses_error:
            errors[f"when-{number}"] = row.clauses_error
    return errors


# --- clauses as YAML --------------------------------------------------------------------


class _ClausesLoader(StrictLoader):
    """Refuses what could grow while it is read, too."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="it refers to another place")
        return super().compose_node(parent, index)


def _read_clauses(lines: str) -> dict[str, Any]:
    if len(lines.encode()) > _LINES_BYTES:
        raise ValueError("it is too long")
    try:
        read = yaml.load(lines, _ClausesLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise ValueError(f"{place}{error.problem or 'it is no YAML'}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueError("it is no YAML") from None
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise ValueError("it names no facts")  # noqa: TRY004 - what was typed is wrong
    return {str(fact): clause for fact, clause in read.items()}
