"""Slugs and names, as people, teams and tools have them."""

import re
from typing import Any

from secondlook.text import NAME_LENGTH, SLUG, SLUG_LENGTH, storable

from services.kit.errors import invalid

_SLUG = re.compile(SLUG)


def require_slug(field: str, slug: str) -> None:
    """Refuse what is no slug.

    Raises:
        InvalidInput: naming `field`.
    """
    if not _SLUG.fullmatch(slug):
        raise invalid(
            field,
            f"'{slug[:70]}' is no slug",
            f"Use 1 to {SLUG_LENGTH} lower-case letters, digits and hyphens, no hyphen first.",
        )


def name(field: str, value: Any) -> str:
    """A name that people read, as it is stored.

    Raises:
        InvalidInput: it is empty or too long.
    """
    given = value.strip() if isinstance(value, str) else ""
    if not given:
        raise invalid(field, "it is empty", "Write the name.")
    if len(given) > NAME_LENGTH:
        raise invalid(field, "it is too long", f"Use {NAME_LENGTH} characters at most.")
    if not storable(given):
        raise invalid(field, "it cannot be stored", "Write it in UTF-8, without U+0000.")
    return given
