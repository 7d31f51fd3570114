"""What a value is, what a role may do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secondlook.conditions import version_label

from services.people.rules import ALLOWED, REVIEWERS, Role, Verb
from services.tools.rules import OutputKind, same_value, value_problem

PLAIN = st.one_of(st.booleans(), st.integers(-3, 3), st.text("ab", max_size=2), st.none())
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2), max_leaves=4)
FIELDS = st.dictionaries(st.sampled_from(["total", "tax", "name"]), VALUES, min_size=1)


@given(VALUES | FIELDS)
def test_value_is_the_same_as_itself(value: Any) -> None:
    assert same_value(value, value)


@given(FIELDS, FIELDS)
def test_correction_changes_nothing_just_if_each_field_it_names_is_as_it_was(
    said: dict[str, Any], was: dict[str, Any]
) -> None:
    unchanged = all(n in was and repr(was[n]) == repr(v) for n, v in said.items())
    assert same_value(said, was) == unchanged


@given(FIELDS, st.floats(0, 1))
def test_confidences_of_fields_do_not_count(was: dict[str, Any], confidence: float) -> None:
    told = {name: {"value": v, "confidence": confidence} for name, v in was.items()}
    assert same_value(was, told)
    assert same_value(told, was)


@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), (False, 0), ("1", 1), (None, False), ([1], [True]), ("a", "A")]
)
def test_values_that_look_alike_differ(one: Any, other: Any) -> None:
    assert not same_value(one, other)
    assert not same_value({"field": one}, {"field": other})


def test_number_is_the_same_however_it_is_written() -> None:
    assert same_value({"total": 3}, {"total": {"value": 3.0}})


@pytest.mark.parametrize(
    ("kind", "value"), [("category", ""), ("text", ""), ("text", " \n"), ("fields", {})]
)
def test_right_value_is_never_empty(kind: str, value: Any) -> None:
    problem = value_problem(OutputKind(kind), (), value, pointer="/value")
    assert problem is not None
    assert problem.problem == "it is empty"


def test_right_value_may_be_false() -> None:
    assert value_problem(OutputKind.FLAG, (), False, pointer="/value") is None


def test_every_role_is_decided_and_each_verb_is_somebodys() -> None:
    assert set(ALLOWED) == set(Role)
    assert set().union(*ALLOWED.values()) == set(Verb)
    assert {Role.OWNER, Role.LEAD, Role.ADMIN} == REVIEWERS
    assert not {Verb.REVIEW, Verb.CORRECT} & ALLOWED[Role.AUDITOR]


@pytest.mark.parametrize(
    ("model", "prompt", "label"),
    [("m", "p", "m+p"), ("m", None, "m"), (None, "p", "p"), ("", "", "unversioned")],
)
def test_version_has_one_name(model: str | None, prompt: str | None, label: str) -> None:
    assert version_label(model, prompt) == label
