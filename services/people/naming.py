"""Whom a written name means."""

from collections.abc import Iterable
from typing import NamedTuple

from secondlook.text import actor_id
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.people.rules import Actor, Role

_CALLED = text("""
SELECT g.name AS written, p.email, p.name, p.role,
    ARRAY(SELECT m.team FROM membership m WHERE m.person = p.email) AS teams,
    g.name IN (p.email, split_part(p.email, '@', 1)) AS exact
FROM unnest(CAST(:names AS text[])) AS g(name)
JOIN person p ON p.active AND (p.email = g.name
    OR starts_with(split_part(p.email, '@', 1), g.name))
ORDER BY g.name, p.email
""")


class Called(NamedTuple):
    """Somebody whom a written name could mean, and whether it is the whole of theirs."""

    actor: Actor
    exact: bool


def called(session: Session, names: Iterable[str]) -> dict[str, list[Called]]:
    """The active people whom each of these names could mean.

    A name is an address, or what stands before its `@`, or the beginning of that. Whoever is
    named in several spellings is found under each.
    """
    by_id: dict[str, list[Called]] = {}
    spellings = {name: by_id.setdefault(actor_id(name), []) for name in names}
    for row in session.execute(_CALLED, {"names": list(by_id)}):
        actor = Actor(row.email, row.name, Role(row.role), frozenset(row.teams))
        by_id[row.written].append(Called(actor, row.exact))
    return spellings
