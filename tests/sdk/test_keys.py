"""API keys: their form, their checksum, and that errors never show them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secondlook import Secondlook, keys


def test_generate_makes_different_keys_of_the_form() -> None:
    made = {keys.generate() for _ in range(100)}
    assert len(made) == 100
    for key in made:
        assert re.fullmatch(r"sl_[0-9a-z]{8}_[0-9A-Za-z]{22}_[0-9A-Za-z]{6}", key)
        assert keys.well_formed(key)
        assert key.startswith(f"sl_{keys.prefix(key)}_")
        assert len(keys.key_hash(key)) == 32


@given(st.data())
def test_every_slip_of_one_character_is_seen(data: st.DataObject) -> None:
    key = keys.generate()
    at = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != key[at]))
    assert not keys.well_formed(key[:at] + other + key[at + 1 :])


@given(st.text())
def test_well_formed_takes_any_text(text: str) -> None:
    assert not keys.well_formed(text)


def test_two_characters_swapped_are_seen() -> None:
    key = keys.generate()
    at = next(i for i in range(12, 33) if key[i] != key[i + 1])
    assert not keys.well_formed(key[:at] + key[at + 1] + key[at] + key[at + 2 :])


def another_end(key: str) -> str:
    return key[:-1] + ("0" if key[-1] != "0" else "1")


@pytest.mark.parametrize("spoil", [lambda k: k[:-1], lambda k: k + "x", another_end])
def test_a_mistyped_key_is_refused_at_once_and_not_shown(spoil: object) -> None:
    assert callable(spoil)
    key = keys.generate()
    with pytest.raises(keys.MalformedKey) as caught:
        Secondlook("http://127.0.0.1:9", spoil(key))
    assert key.split("_")[2] not in str(caught.value)
