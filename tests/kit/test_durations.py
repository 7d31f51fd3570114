"""Durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.durations import Duration, Unit, parse_duration, parse_seconds


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("90s", Duration(90)),
        ("15m", Duration(900)),
        ("2h", Duration(7200)),
        ("3d", Duration(3 * 86_400)),
        ("4bh", Duration(4 * 3600, Unit.WORKING_SECONDS)),
        ("2bd", Duration(2, Unit.WORKING_DAYS)),
    ],
)
def test_durations_are_read(written: str, meant: Duration) -> None:
    assert parse_duration(written) == meant


@given(st.integers(0, 999_999), st.sampled_from(["s", "m", "h", "d", "bh", "bd"]))
def test_a_duration_is_written_as_it_is_read(number: int, unit: str) -> None:
    read = parse_duration(f"{number}{unit}")
    assert parse_duration(str(read)) == read


@pytest.mark.parametrize("written", ["", "4", "h", "-1h", "1.5h", "1w", "1 h", "1234567s", "٣h"])
def test_what_is_no_duration_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        parse_duration(written)


@pytest.mark.parametrize("written", ["1bh", "1bd"])
def test_working_time_has_no_fixed_length(written: str) -> None:
    with pytest.raises(ValueError, match="such as 30s, 15m, 2h or 3d"):
        parse_seconds(written)
