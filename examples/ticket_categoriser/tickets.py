"""Tickets: made up, or read from a file with the columns `text` and `category`."""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from secondlook.text import identifier

csv.field_size_limit(1_000_000)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket, and the category that a person would give it."""

    text: str
    category: str


class BadFile(ValueError):
    """A file of tickets cannot be used; the message names the line and what to do."""


def read(path: Path) -> list[Ticket]:
    """The tickets of a CSV file.

    Raises:
        BadFile: no such file, not UTF-8, a column is missing, or a row has no text.
    """
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = {"text", "category"} - set(reader.fieldnames or ())
            if missing:
                listed = ", ".join(sorted(missing))
                raise BadFile(f"{path}: line 1: column {listed} is missing; write text,category")
            return list(_rows(path, reader))
    except UnicodeDecodeError:
        line = _first_bad_line(path)
        raise BadFile(f"{path}: line {line}: it is no UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror}") from None
    except csv.Error as error:
        raise BadFile(f"{path}: it is no CSV: {error}; quote fields with commas") from None


def _first_bad_line(path: Path) -> int:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return number
    return 1


def _rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[Ticket]:
    for row in reader:
        if None in row:
            raise BadFile(
                f"{path}: line {reader.line_num}: it has more columns than line 1; "
                "quote fields with commas"
            )
        text, category = (row["text"] or "").strip(), identifier(row["category"] or "")
        for column, value in (("text", text), ("category", category)):
            if not value:
                raise BadFile(f"{path}: line {reader.line_num}: {column} is empty; fill it in")
        yield Ticket(text, category)


_OPENINGS = ("Hello,", "Hi there,", "Good morning,", "", "", "Please help:", "Question:")
_CLOSINGS = (
    "Thanks!",
    "",
    "",
    "What can I do?",
    "This is urgent.",
    "Second time I ask.",
    "Regards",
)

# What people write about each matter. Some phrases would fit two categories; real tickets do.
_PHRASES = {
    "delivery-late": (
        "my parcel should have been here {when}",
        "the tracking has not moved since {when}",
        "still waiting for the {thing} I ordered {when}",
        "when will my {thing} arrive",
    ),
    "item-damaged": (
        "the {thing} arrived broken",
        "there is a crack in the {thing} you sent",
        "the box was open and the {thing} is scratched",
        "the {thing} stopped working after one day",
    ),
    "wrong-item": (
        "I got a {other} instead of a {thing}",
        "this is not the {thing} that I ordered",
        "the colour of the {thing} is not what I chose",
        "you sent the {thing} in the wrong size",
    ),
    "refund-missing": (
        "I sent the {thing} back {when} and have no money yet",
        "where is my refund for the {thing}",
        "you promised to pay me back {when}",
        "the refund for my order is still not on my account",
    ),
    "return-wanted": (
        "how do I send the {thing} back",
        "I changed my mind about the {thing} and want to return it",
        "please send me a return label for the {thing}",
        "can I return a {thing} that I bought {when}",
    ),
    "charged-twice": (
        "you took the money for the {thing} twice",
        "there are two payments for one order on my card",
        "I was charged again {when} for the same {thing}",
        "double payment for my {thing}",
    ),
    "payment-fails": (
        "my card is refused when I try to buy the {thing}",
        "the payment page shows an error since {when}",
        "I cannot pay for the {thing}",
        "checkout does not accept my card",
    ),
    "invoice-wanted": (
        "I need an invoice for the {thing}",
        "please send the bill for my order of {when} to my company",
        "the invoice for the {thing} shows the wrong address",
        "where do I find the receipt for my {thing}",
    ),
    "account-locked": (
        "I cannot sign in since {when}",
        "my account is locked",
        "the link to reset my password does not come",
        "it says that my password is wrong and it is not",
    ),
    "address-change": (
        "I moved, please send the {thing} to my new address",
        "the address of my order is wrong",
        "can you still change where the {thing} goes",
        "how do I change my address",
    ),
    "cancel-order": (
        "please cancel my order of {when}",
        "I do not want the {thing} any more, stop the order",
        "can I still cancel the {thing}",
        "I ordered the {thing} twice by mistake, cancel one",
    ),
    "product-question": (
        "does the {thing} work with a {other}",
        "how long does the battery of the {thing} last",
        "is the {thing} in stock again soon",
        "what is the difference between the {thing} and the {other}",
    ),
}
_THINGS = ("kettle", "lamp", "headset", "backpack", "monitor", "jacket", "keyboard", "blender")
_WHEN = ("last week", "on Monday", "ten days ago", "yesterday", "two weeks ago", "in October")


def generate(count: int, *, seed: int) -> list[Ticket]:
    """`count` made-up tickets to a web shop, the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    return [_one(chance) for _ in range(count)]


def _one(chance: random.Random) -> Ticket:
    category = chance.choice(sorted(_PHRASES))
    said = [chance.choice(_PHRASES[category])]
    if chance.random() < 0.25:
        said.append(chance.choice(_PHRASES[chance.choice(sorted(_PHRASES))]))
    thing, other = chance.sample(_THINGS, 2)
    matter = " and ".join(said).format(thing=thing, other=other, when=chance.choice(_WHEN))
    words = " ".join(part for part in (chance.choice(_OPENINGS), matter) if part)
    return Ticket(f"{words}. {chance.choice(_CLOSINGS)}".strip(), category)


def categories(tickets: list[Ticket]) -> list[str]:
    """The categories that the tickets speak of, by name."""
    return sorted({ticket.category for ticket in tickets})
