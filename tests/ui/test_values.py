"""What is typed into forms becomes values as the tool has them."""

from typing import Any

import pytest
from secondlook.text import normalised

from ui.kit.values import format_field, format_value, read_fields, read_text


@pytest.mark.parametrize(
    ("typed", "said", "read"),
    [
        ("12.50", {"value": "12.5", "confidence": 0.4}, "12.50"),
        ("130", {"value": 128.5, "confidence": 0.4}, 130),
        ("128.5", {"value": 128.5}, 128.5),
        ("true", {"value": False}, True),
        ("NaN", {"value": 1.0}, "NaN"),
        ("a lot", {"value": 1.0}, "a lot"),
        ("", {"value": None}, None),
        ("", {"value": "x"}, ""),
        ("[1, 2]", {"value": [1]}, [1, 2]),
    ],
)
def test_field_keeps_the_type_that_it_had(typed: str, said: Any, read: Any) -> None:
    assert read_fields({"field.total": typed}, {"total": said}) == {"total": {"value": read}}


def test_empty_field_that_the_tool_has_not_is_none() -> None:
    assert read_fields({"field.total": "", "field.name": "Ada", "csrf_token": "x"}, None) == {
        "name": {"value": "Ada"}
    }


def test_text_is_not_changed_by_a_byte_order_mark() -> None:
    said = "\ufeffGru\u0308n"
    assert read_text({"value": normalised(said)}, said) is said


def test_text_is_not_changed_by_the_ends_of_its_lines() -> None:
    assert read_text({"value": "One\r\ntwo"}, "One\r\ntwo") == "One\r\ntwo"
    assert read_text({"value": "One\r\ntwo"}, "One\ntwo") == "One\ntwo"
    assert read_text({"value": "One\r\n2"}, "One\r\ntwo") == "One\n2"


def test_value_is_one_short_line() -> None:
    assert format_field({"value": None}) == ""
    assert format_value(True) == "Raised"
    assert format_value({"a": {"value": 1}, "b": {"value": "x"}}) == "a: 1, b: x"
    assert format_value(None, {"kind": "timeout"}) == "Failed: timeout"


@pytest.mark.parametrize("value", ["", " \n", {}])
def test_value_with_nothing_in_it_is_not_the_same_as_none(value: Any) -> None:
    assert format_value(value) == "Empty"
    assert format_value(None) == ""


@pytest.mark.parametrize("said", ["Cafe\u0301\r\nau lait", "Caf\xe9\nau lait"])
def test_text_that_nobody_edited_stays_as_the_tool_wrote_it(said: str) -> None:
    assert read_text({"value": "Caf\xe9\r\nau lait"}, said) == said


def test_field_that_nobody_edited_stays_as_the_tool_read_it() -> None:
    said = {"place": {"value": "Cafe\u0301"}}
    assert read_fields({"field.place": "Caf\xe9"}, said) == {"place": {"value": "Cafe\u0301"}}
