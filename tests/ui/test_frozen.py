"""The cases that a form names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import InvalidInput
from ui.cases.frozen import MOST, packed, unpacked


@given(st.sets(st.integers(1, 10**18 - 1) | st.integers(1, 50), min_size=1))
def test_what_is_packed_comes_back(cases: set[int]) -> None:
    assert unpacked(packed(cases)) == sorted(cases)


def test_neighbours_take_little_room() -> None:
    assert packed([3, 1, 2, 7, 9, 10]) == "1-3,7,9-10"


@pytest.mark.parametrize("text", ["", "yesterday", "3-1", "1,,2", "-5", "1-", f"1-{MOST + 1}"])
def test_what_no_page_holds_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="too old"):
        unpacked(text)
