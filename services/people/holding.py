"""Holding teams and people until a transaction ends, in the one order that everybody keeps to.

Teams by their slugs come before people by their addresses; cases come before both. Whoever needs
some held more strongly than others goes through them in that same order.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from itertools import groupby

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.people.rules import REVIEWERS

_REVIEWERS = sorted(role.value for role in REVIEWERS)


class Hold(StrEnum):
    """How strongly a row is held."""

    STAYS = "SHARE"
    """It stays as it is."""
    ALONE = "NO KEY UPDATE"
    """Nobody else holds it in any of these ways."""
    LEAVES = "UPDATE"
    """Nobody even begins to refer to it."""


_TABLES = {"team": "slug", "person": "email"}
_ORDER = {
    table: text(f"SELECT {key} FROM {table} WHERE {key} = ANY(:keys) ORDER BY {key}")
    for table, key in _TABLES.items()
}
_HOLD = {
    (table, hold): text(
        f"SELECT FROM {table} WHERE {key} = ANY(:keys) ORDER BY {key} FOR {hold.value}"
    )
    for table, key in _TABLES.items()
    for hold in Hold
}


def hold_teams(session: Session, wanted: Mapping[str, Hold]) -> None:
    """Hold teams by their slugs."""
    _hold(session, "team", wanted)


def hold_people(session: Session, wanted: Mapping[str, Hold]) -> None:
    """Hold people by their addresses; whoever needs teams as well holds those first."""
    _hold(session, "person", wanted)


def _hold(session: Session, table: str, wanted: Mapping[str, Hold]) -> None:
    if not wanted:
        return
    keys = list(wanted)
    if len(set(wanted.values())) > 1:
        # One statement holds in one way; the database says what its order is.
        keys = list(session.scalars(_ORDER[table], {"keys": keys}))
    for hold, some in groupby(keys, wanted.__getitem__):
        session.execute(_HOLD[table, hold], {"keys": list(some)})


_EVERY_TEAM = text("SELECT slug FROM team")
_EVERY_REVIEWER = text("SELECT email FROM person WHERE role = ANY(:reviewers)")


def hold_everybody(session: Session, people: Collection[str] = ()) -> None:
    """Hold all who could own a case, and `people` so that nobody else holds them.

    For what is rare and may give cases to anybody.
    """
    hold_teams(session, dict.fromkeys(session.scalars(_EVERY_TEAM), Hold.STAYS))
    reviewers = session.scalars(_EVERY_REVIEWER, {"reviewers": _REVIEWERS})
    wanted = dict.fromkeys(reviewers, Hold.STAYS) | dict.fromkeys(people, Hold.ALONE)
    hold_people(session, wanted)
