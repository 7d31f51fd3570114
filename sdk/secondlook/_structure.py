"""How much a JSON text holds, and where the entries of a list are, told by its punctuation.

Asked before validation, which makes an object of each value and an error of each that is wrong:
a megabyte of `{},{},…` takes a second then. Whether the text is sound JSON validation says.
"""

import re
from collections.abc import Iterator

from secondlook._problems import invalid

MEMBERS = 12_000
"""The most members and entries of one event, all told; the contracts have room for 10,000."""

_DEPTH = 32
"""As deep as an event may be nested; what is deeper is not followed to its end."""

_QUOTE, _COMMA, _OPEN = ord('"'), ord(","), frozenset(b"[{")
_WHITE = b" \t\r\n"
# A string that does not end is one token, to the end: else each quote in it is looked at again.
# One that is longer than any event is a token without an end: nothing waits until it is looked
# through, as whoever matches holds the interpreter meanwhile.
_token = re.compile(
    rb'"[^"\\]{0,1048576}+(?:\\.[^"\\]{0,1048576}+){0,524288}+("|\\?\Z)?|[\[\]{},]', re.DOTALL
)


def is_crowded(raw: bytes) -> bool:
    """Whether the text has more members and entries, all told, than any event may have."""
    if raw.count(b",") < MEMBERS:  # those in quotes included, but quick
        return False
    members = 0
    for found in _token.finditer(raw):
        members += raw[found.start()] == _COMMA
        if members >= MEMBERS:
            return True
    return False


def require_sparse(raw: bytes) -> None:
    """Refuse a text that is crowded.

    Raises:
        InvalidEvent: it is.
    """
    if is_crowded(raw):
        raise _crowded()


def split(raw: bytes, *, most: int, most_bytes: int) -> list[bytes]:
    """The entries of a list, each as it was written.

    Raises:
        InvalidEvent: it is no list, or has more entries than `most`; an entry is crowded,
            nested too deeply or longer than `most_bytes`.
    """
    begin = len(raw) - len(raw.lstrip(_WHITE))
    if raw[begin : begin + 1] != b"[":
        raise invalid((), "it is no list", "Send a list, in brackets, without a byte-order mark.")
    entries: list[bytes] = []
    for end in _ends(raw, begin, most_bytes):
        entry = raw[begin + 1 : end].strip(_WHITE)
        if len(entry) > most_bytes:
            raise _too_long(len(entries), most_bytes)
        if len(entries) == most:
            raise invalid((), f"it has over {most:,} entries", f"Send at most {most:,}.")
        entries.append(entry)
        begin = end
    if raw[begin + 1 :].strip(_WHITE):
        raise _no_json("there is more after the end of the list")
    return [] if entries == [b""] else entries


def _ends(raw: bytes, begin: int, most_bytes: int) -> Iterator[int]:
    """Where each entry ends: at a comma, the last one at the bracket that closes the list."""
    depth = members = entries = 0
    for found in _token.finditer(raw, begin):
        at = found.start()
        token = raw[at]
        if token == _QUOTE:
            if found[1] is None:
                raise _too_long(entries, most_bytes)
            continue
        if token in _OPEN:
            depth += 1
            if depth > _DEPTH + 1:
                raise invalid([entries], "it is nested too deeply", "Send what the schema names.")
        elif token != _COMMA:
            depth -= 1
            if depth == 0:
                yield at
                return
        elif depth == 1:
            yield at
            members, entries = 0, entries + 1
        else:
            members += 1
            if members >= MEMBERS:
                raise _crowded(entries)
    raise _no_json("the list does not end")


def _too_long(entry: int, most_bytes: int) -> Exception:
    return invalid([entry], "it is over 1 MiB", f"Send at most {most_bytes:,} bytes.")


def _crowded(*place: int) -> Exception:
    hint = f"Send at most {MEMBERS:,}; the published schema says which there are."
    return invalid(place, f"it has over {MEMBERS:,} members and entries", hint)


def _no_json(why: str) -> Exception:
    return invalid((), f"it is no valid JSON: {why}", "Send JSON in UTF-8.")
