"""Text is the same text at every door: normalised, trimmed where it names, and storable."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from secondlook import events, text
from secondlook._values import ActorId, Category, Id, Name, ShortText
from secondlook.testing import NOON, TOOL, a_correction, an_output

COMPOSED, DECOMPOSED = "größe", "gro\u0308ße"
MARK = "\ufeff"


@pytest.mark.parametrize(
    ("read", "given", "expected"),
    [
        (text.normalised, DECOMPOSED, COMPOSED),
        (text.normalised, MARK + "refund", "refund"),
        (text.normalised, " a ", " a "),
        (text.normalised, "a\u2028b\u2029c\u0085d", "a\u2028b\u2029c\u0085d"),
        (text.identifier, f" \t{MARK}t-1\r\n", "t-1"),
        (text.identifier, "Ana", "Ana"),
        (text.identifier, "a b", "a b"),
        (text.actor_id, " Ana@X.org ", "ana@x.org"),
        (text.actor_id, "Ana", "Ana"),
        (text.actor_id, "Ana@", "Ana@"),
        (text.actor_id, "a@b@C", "a@b@C"),
    ],
)
def test_texts_become_one(read: Any, given: str, expected: str) -> None:
    assert read(given) == expected


@given(st.text(max_size=20))
@pytest.mark.parametrize("read", [text.normalised, text.identifier, text.actor_id])
def test_a_second_pass_changes_nothing(read: Any, given: str) -> None:
    assert read(read(given)) == read(given)


@given(st.text(st.characters(), max_size=5))
def test_storable_is_what_can_be_written_as_utf_8_without_nul(given: str) -> None:
    assert text.storable(given) == (b"\0" not in given.encode("utf-8", "replace") and _utf8(given))


def _utf8(given: str) -> bool:
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        (Id, f" {DECOMPOSED}\n", COMPOSED),
        (ActorId, "Ana@X.org", "ana@x.org"),
        (Category, MARK + "refund", "refund"),
        (Name, DECOMPOSED, COMPOSED),
        (ShortText, MARK, ""),
    ],
)
def test_each_kind_of_text_normalises(kind: Any, given: str, kept: str) -> None:
    assert TypeAdapter(kind).validate_python(given) == kept


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Id, " \t "),
        (Id, MARK),
        (Name, MARK),
        (Id, "\u0958" * 34),
        (Name, "\u0958" * 101),
        (ShortText, "\u0958" * 101),
    ],
)
def test_a_text_that_normalising_makes_empty_or_too_long_is_refused(kind: Any, given: str) -> None:
    with pytest.raises(ValueError, match=r"at least 1 character|at most 200|over 200 bytes"):
        TypeAdapter(kind).validate_python(given)


def test_outputs_that_look_the_same_are_the_same() -> None:
    one = an_output(
        output_id=COMPOSED, value=COMPOSED, subject="s-1", attributes={COMPOSED: COMPOSED}
    )
    other = an_output(
        output_id=f" {DECOMPOSED}\n",
        value=MARK + DECOMPOSED,
        subject="s-1 ",
        attributes={DECOMPOSED: MARK + DECOMPOSED},
    )
    assert other == one
    first, second = (events.output_recorded(TOOL, made, time=NOON) for made in (one, other))
    assert (second.id, second.key, events.digest(second)) == (
        first.id,
        first.key,
        events.digest(first),
    )
    assert events.decode(_as_written(first)) == first


def _as_written(event: events.Event) -> bytes:
    """The event as a tool would write it that composes no letters."""
    raw = json.dumps(json.loads(events.encode(event)), ensure_ascii=False)
    return raw.replace(COMPOSED, DECOMPOSED).encode()


def test_what_is_only_read_stays_as_it_was_written() -> None:
    written = f"{DECOMPOSED}\u2028\u0085\n"
    output = an_output(input={"text": written})
    assert output.input is not None
    assert output.input.text == written
    assert a_correction(note=written).note == written


def test_a_category_of_white_space_is_empty() -> None:
    with pytest.raises(ValueError, match="empty_category"):
        an_output(value=" \u2003")


def test_a_person_is_one_whatever_the_case_of_their_address() -> None:
    for written in ("Ana@X.org", " ana@x.ORG"):
        assert a_correction(actor={"id": written}).actor.id == "ana@x.org"
        assert events.Owner(kind="person", id=written).id == "ana@x.org"
    assert a_correction(actor={"id": "Ana"}).actor.id == "Ana"
