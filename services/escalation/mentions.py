"""People whom a comment names with `@`: those who may see the case, and nobody else."""

import re
from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.escalation import queries
from services.escalation.cases import Case
from services.kit.errors import invalid
from services.people import naming
from services.people.naming import Called

_NAME = re.compile(r"(?<![\w@.+/-])@(\w[\w.+-]*(?:@[\w-]+(?:\.[\w-]+)+)?)")
MOST = 20
"""So many people one comment names at most."""


def names_in(note: str) -> list[str]:
    """What stands behind each `@` that begins a word, as it is written, each once."""
    return list(dict.fromkeys(name.rstrip(".-+") for name in _NAME.findall(note)))


def mentioned(session: Session, case: Case, note: str) -> list[str]:
    """The addresses of whom a comment names.

    A name that means nobody is a word like any other, unless it is a whole address.

    Raises:
        InvalidInput: somebody who is named cannot see the case, or more than one person could
            be meant; it says who.
    """
    names = names_in(note)
    if not names:
        return []
    if len(names) > MOST:
        raise invalid("note", f"it mentions over {MOST} people", "Mention fewer.")
    found = naming.called(session, names)
    people, barred = [], []
    for name in names:
        seeing = _meant([one for one in found[name] if queries.sees(one.actor, case)])
        if len(seeing) > 1:
            listed = ", ".join(one.actor.email for one in seeing)
            raise invalid("note", f"'@{name}' could be {listed}", "Write the whole address.")
        if seeing:
            people.append(seeing[0].actor.email)
        elif found[name] or "@" in name:
            barred += [one.actor.email for one in _meant(found[name])] or [name]
    if barred:
        problem = f"{', '.join(dict.fromkeys(barred))} cannot see this case"
        raise invalid("note", problem, "Mention people of its team, or hand it over first.")
    return list(dict.fromkeys(people))


def _meant(found: Sequence[Called]) -> list[Called]:
    """Those whose whole name it is; where it is nobody's, all whom it could mean."""
    exact = [one for one in found if one.exact]
    return exact or list(found)
