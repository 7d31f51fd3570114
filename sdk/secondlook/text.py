"""Text as it is stored and compared: the same at every door, with the same limits.

Two texts that look the same are the same text: composed and decomposed letters are made one
(Unicode's NFC), and a byte-order mark, which files of some editors begin with, is dropped.
Settings, tables and forms take these limits, so that what one of them takes no other refuses.
"""

from unicodedata import normalize

ID_BYTES = 200
"""Of an output's id, a subject, an actor's id, an event's id, a category; as UTF-8."""
NAME_LENGTH = 200
"""Of the name of an attribute or a field; in characters, like all that follow."""
SHORT_LENGTH = 200
"""Of an attribute's value, a model, a prompt, a cohort, a reason."""
NOTE_LENGTH = 4_000
LINK_LENGTH = 2_048
SLUG_LENGTH = 63
SLUG = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""What names tools, teams, queues and conditions in addresses and on the log."""
TEXT_BYTES = 65_536
"""Of an input's text, a draft, a field's value; as UTF-8."""

ATTRIBUTES = 32
ALTERNATIVES = 20
FIELDS = 100
CATEGORIES = 10_000
"""Of one taxonomy."""

_BYTE_ORDER_MARK = "\ufeff"


def normalised(text: str) -> str:
    """The text in NFC and without a byte-order mark at its beginning."""
    return text if text.isascii() else normalize("NFC", text.lstrip(_BYTE_ORDER_MARK))


def identifier(text: str) -> str:
    """A text that names something: normalised, and without white space around it."""
    if text.isascii():
        return text.strip()
    name = normalised(text).strip()
    # A mark may have hidden behind white space; a second pass must change nothing any more.
    return identifier(name) if name.startswith(_BYTE_ORDER_MARK) else name


def actor_id(text: str) -> str:
    """Who somebody is: an identifier, and an e-mail address in lower case.

    In theory a mailbox may tell `Ana@` from `ana@`; in practice they are one person.
    """
    name = identifier(text)
    return normalised(name.lower()) if is_address(name) else name


def is_address(text: str) -> bool:
    """Whether the text has the form of an e-mail address; says nothing of whether there is one."""
    before, at, after = text.partition("@")
    return bool(before and at and after) and "@" not in after and len(text.split()) == 1


def storable(text: str) -> bool:
    """Whether a database takes the text: it has no U+0000 and no half of a surrogate pair."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))
