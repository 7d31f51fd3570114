"""Addresses in what people write, as links; nothing else of it is more than text."""

import re
from urllib.parse import urlsplit

from markupsafe import Markup

_ADDRESS = re.compile(r"\bhttps?://[^\s<>\"'`\\^{}|]+", re.IGNORECASE)
_AFTER = ".,;:!?"
_PAIRS = {")": "(", "]": "["}
_LINK = Markup('<a href="{0}" rel="noopener nofollow">{0}</a>')


def linked(written: object) -> Markup:
    """`written`, escaped, with each http or https address in it as a link."""
    text = str(written or "")
    parts, end = [], 0
    for match in _ADDRESS.finditer(text):
        address = _trimmed(match[0])
        if _leads_somewhere(address):
            start = match.start()
            parts += [Markup("{}").format(text[end:start]), _LINK.format(address)]
            end = start + len(address)
    return Markup("").join([*parts, Markup("{}").format(text[end:])])


def _trimmed(address: str) -> str:
    """Without what belongs to the sentence around it."""
    while address[-1] in _AFTER or (
        address[-1] in _PAIRS and address.count(address[-1]) > address.count(_PAIRS[address[-1]])
    ):
        address = address[:-1]
    return address


def _leads_somewhere(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        return False
