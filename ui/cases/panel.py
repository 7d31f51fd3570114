"""The reviewers of a case, where several are asked: who is still needed, and what they said."""

from typing import Any

from services.escalation import opinions
from services.escalation.cases import Case
from services.escalation.judgement import Asks, Opinion
from services.escalation.opinions import Panel
from services.kit.database import Session
from services.kit.errors import InvalidInput
from services.people import queries as people_queries
from services.people.rules import Actor
from services.tools.rules import VerdictKind
from ui.kit.forms import invalid_field
from ui.kit.values import format_value

SETTLE = "opinion:"
"""A verdict's choice that names the reviewer whose opinion is right."""

_NAMED = 4
_WORDS = {
    VerdictKind.UPHELD: "The tool is right",
    VerdictKind.UNDECIDABLE: "Undecidable",
    VerdictKind.NOT_ACTIONABLE: "Not actionable",
}


def panel_context(session: Session, found: Panel | None) -> dict[str, Any]:
    """What the page says of a case's reviewers; nothing where one person reviews it."""
    if found is None:
        return {"panel": None}
    names = people_queries.names(session, [one.reviewer for one in found.shown])
    return {
        "panel": {
            "said": _progress(found),
            "needed": _needed(found),
            "stuck": found.asks is not None and not found.able,
            "yours": in_words(found.yours) if found.yours is not None else "",
            "revocable": found.yours is not None and not found.yours.stays,
            "shown": [_shown(one, names) for one in found.shown],
            "settles": found.settles,
            "alone": found.alone,
        }
    }


def in_words(one: Opinion) -> str:
    """What somebody said, in a line."""
    if one.verdict is VerdictKind.CORRECTED:
        return format_value(one.value)
    return _WORDS[one.verdict]


def _shown(one: Opinion, names: dict[str, str]) -> dict[str, Any]:
    long = isinstance(one.value, str) and len(one.value) > len(format_value(one.value))
    return {
        "who": names.get(one.reviewer, one.reviewer),
        "said": in_words(one),
        "text": one.value if long else "",
        "note": one.note or "",
    }


def _progress(found: Panel) -> str:
    begun = {0: "Nobody has given an opinion yet", 1: "One opinion is given"}
    given = begun.get(found.given, f"{found.given} opinions are given")
    return (
        f"{found.asked} people review this case, each without knowing what the tool or the"
        f" others say. {given}."
    )


def _needed(found: Panel) -> str:
    """Who is still needed, and who that could be."""
    if found.asks is Asks.LEAD:
        return f"They all differ, so a lead settles it{_who(found, ': ', '.')}"
    if found.given >= found.asked:
        words = "They differ, so one more person is asked"
    else:
        words = f"{found.needed} more {'is' if found.needed == 1 else 'are'} needed"
    instead = ", and nobody else of the team can. A lead decides alone, or hands it to a team."
    return words + (_who(found, ": ", " can.") if found.able else instead)


def _who(found: Panel, before: str, after: str) -> str:
    if not found.able:
        return ", and no lead is there who could. An admin makes somebody one."
    named = found.able[:_NAMED]
    others = len(found.able) - len(named)
    listed = ", ".join(named) + (f" or {others} others" if others else "")
    return f"{before}{listed}{after}"


def settle_choices(found: Panel | None) -> list[dict[str, Any]]:
    """The opinions that a lead can agree with by one key, each answer once."""
    if found is None or not found.settles:
        return []
    return [
        {
            "value": f"{SETTLE}{one.reviewer}",
            "label": in_words(one),
            "hint": f"as {one.reviewer.partition('@')[0]} says",
        }
        for one in found.shown
    ]


def settled_verdict(
    session: Session, actor: Actor, case: Case, reviewer: str
) -> tuple[VerdictKind, Any]:
    """The verdict that agrees with a reviewer's opinion.

    Raises:
        InvalidInput: they took it back meanwhile, or the actor may not see it.
    """
    found = opinions.panel(session, actor, case)
    shown = found.shown if found is not None and found.settles else []
    one = next((one for one in shown if one.reviewer == reviewer), None)
    if one is None:
        raise _gone()
    return one.verdict, one.value


def _gone() -> InvalidInput:
    return invalid_field("choice", "that was taken back meanwhile", "Look at the case again")
