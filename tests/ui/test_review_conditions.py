"""Review conditions are typed as names with clauses; what is wrong stands beside each."""

from typing import Any

import pytest

from services.kit.errors import InvalidInput, Problem
from ui.kit.forms import Form
from ui.tools.conditions import (
    ConditionRow,
    clause_lines,
    read_conditions,
    row_errors,
    typed_rows,
    with_errors,
)


def _form(*rows: tuple[str, str]) -> Form:
    return Form([pair for name, when in rows for pair in (("condition", name), ("when", when))])


def test_conditions_are_read_in_their_order_without_blank_rows() -> None:
    rows = typed_rows(
        _form(
            ("", " \r\n"),
            (" vip ", 'attributes.vip: "yes"\r\nconfidence: {lt: 0.5}'),
            ("", ""),
            ("night", "cohort: [a, b]"),
        )
    )
    assert read_conditions(rows) == [
        {"id": "vip", "when": {"attributes.vip": "yes", "confidence": {"lt": 0.5}}},
        {"id": "night", "when": {"cohort": ["a", "b"]}},
    ]


@pytest.mark.parametrize(
    "when",
    [
        {"attributes.vip": "yes", "confidence": {"lt": 0.5, "ge": 0.1}},
        {"predicted.category": ["refund [EU]", "a: b", "#c", "Caf\xe9", "x" * 300]},
        {"predicted.flag": True, "kind": "category", "version": "*-beta", "language": "no"},
        {"attributes.n": "2026-01-01", "attributes.a b: c": ""},
    ],
)
def test_clauses_are_shown_as_they_are_read(when: dict[str, Any]) -> None:
    rows = [ConditionRow("x", clause_lines(when))]
    assert read_conditions(rows) == [{"id": "x", "when": when}]


@pytest.mark.parametrize(
    ("clauses", "said"),
    [
        ("kind: a\nkind: b", "line 2: the key 'kind' stands here twice"),
        ("a: b\nkind: [a", "line 2: "),
        ("just words", "it names no facts"),
        ("- kind", "it names no facts"),
        ("a: &x [b]\nc: *x", "it refers to another place"),
        ("a: !!python/object:os.system b", "line 1: "),
        ("a: " + "[" * 3000, "line 1: it is nested too deeply"),
        ("a: " + "x" * 20_000, "it is too long"),
        ("a: 2026-13-45", "it is no YAML"),
    ],
)
def test_clauses_that_cannot_be_read_say_where(clauses: str, said: str) -> None:
    rows = [ConditionRow(), ConditionRow("good", "kind: text"), ConditionRow("bad", clauses)]
    with pytest.raises(InvalidInput) as refused:
        read_conditions(rows)
    errors = row_errors(with_errors(rows, refused.value))
    assert list(errors) == ["when-3"]
    assert said in errors["when-3"]


def test_problems_stand_beside_the_name_or_the_clauses_that_they_are_about() -> None:
    rows = [ConditionRow(), ConditionRow("a", "confidence: 7"), ConditionRow("b", "x: 1")]
    problems = (
        Problem("/review_when/0/when/confidence", "'7' is not between 0 and 1", "Write 0.7."),
        Problem("/review_when/1/id", "it stands there twice", "Use another."),
        Problem("/review_when/1/when/attributes.a~1b", "it is no text", "Quote it."),
        Problem("/review_when/9/id", "there is no such row", "None."),
    )
    marked = with_errors(rows, InvalidInput("no", problems=problems))
    assert row_errors(marked) == {
        "when-2": "confidence: '7' is not between 0 and 1. Write 0.7.",
        "condition-3": "it stands there twice. Use another.",
        "when-3": "attributes.a/b: it is no text. Quote it.",
    }
    assert [row.clauses for row in marked] == ["", "confidence: 7", "x: 1"]
