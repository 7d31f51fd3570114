"""The example's file of tickets, as people save it."""

from pathlib import Path

import pytest

from examples.ticket_categoriser.tickets import Ticket, read


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_read_what_a_spreadsheet_saved(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    file.write_text("text,category\nDer Schlüssel klemmt,item-damaged\n", encoding=encoding)
    assert read(file) == [Ticket("Der Schlüssel klemmt", "item-damaged")]
