"""Which address people are told, and which tools."""

from pathlib import Path

import pytest

from services.kit.processes import listening
from services.kit.settings import Settings


@pytest.mark.parametrize(
    ("given", "people", "tools"),
    [
        ({}, "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ({"public_url": "https://a.example/"}, "https://a.example", "https://a.example"),
        (
            {"public_url": "https://a.example", "api_url": "https://api.example/"},
            "https://a.example",
            "https://api.example",
        ),
    ],
)
def test_tools_are_told_their_own_address_where_there_is_one(
    given: dict[str, str], people: str, tools: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, **given)
    assert listening.address(settings) == people
    assert listening.api_address(settings) == tools
