"""The example's file of tickets, as people save it."""

from pathlib import Path

import pytest

from examples.ticket_categoriser.tickets import BadFile, Ticket, read


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_read_what_a_spreadsheet_saved(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    file.write_text("text,category\nDer Schlüssel klemmt,item-damaged\n", encoding=encoding)
    assert read(file) == [Ticket("Der Schlüssel klemmt", "item-damaged")]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"text,category\nhello, world,refund\n", "line 2: it has more columns"),
        (b"text,category\na,refund\nb\xe9,refund\n", "line 3: it is no UTF-8"),
        (b"text,category\na,\n", "line 2: category is empty"),
    ],
)
def test_file_that_cannot_be_used_names_the_line(raw: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    file.write_bytes(raw)
    with pytest.raises(BadFile, match=says):
        read(file)


def test_composed_and_decomposed_letters_are_one_category(tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    file.write_text("text,category\na\u2028b,caf\xe9\nc, cafe\u0301 \n", encoding="utf-8")
    assert read(file) == [Ticket("a\u2028b", "caf\xe9"), Ticket("c", "caf\xe9")]
