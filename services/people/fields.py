"""Slugs and names: as people, teams and tools have them, and as addresses hand them in."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator
from secondlook.text import (
    NAME_LENGTH,
    SLUG,
    SLUG_LENGTH,
    actor_id,
    identifier,
    normalised,
    storable,
)

from services.kit.errors import invalid

Named = Annotated[str, AfterValidator(identifier)]
"""What names something in a path or a query, in the form in which it is stored."""
NamedActor = Annotated[str, AfterValidator(actor_id)]
"""The same of somebody: addresses are compared without letter case."""
Normalised = Annotated[str, AfterValidator(normalised)]
"""Any other text of a query."""

_SLUG = re.compile(SLUG)


def require_slug(field: str, slug: str, *, what: str = "slug") -> None:
    """Refuse what is no slug, or no `what` where the form calls it so.

    Raises:
        InvalidInput: naming `field`.
    """
    if not _SLUG.fullmatch(slug):
        raise invalid(
            field,
            f"'{slug[:70]}' is no {what}",
            f"Use 1 to {SLUG_LENGTH} lower-case letters, digits and hyphens, no hyphen first.",
        )


def name(field: str, value: Any) -> str:
    """A name that people read, as it is stored.

    Raises:
        InvalidInput: it is empty or too long.
    """
    given = identifier(value) if isinstance(value, str) else ""
    if not given:
        raise invalid(field, "it is empty", "Write the name.")
    if len(given) > NAME_LENGTH:
        raise invalid(field, "it is too long", f"Use {NAME_LENGTH} characters at most.")
    if not storable(given):
        raise invalid(field, "it cannot be stored", "Write it in UTF-8, without U+0000.")
    return given
