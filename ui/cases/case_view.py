"""One case as the reading pane shows it: the facts, the tool's answer, the verdicts to choose."""

from typing import Any

from services.escalation import service
from services.escalation.cases import Case
from services.escalation.opinions import Panel
from services.escalation.rules import OPEN_STATES, PAUSED, CaseState, SubjectKind
from services.kit.database import Session
from services.people.rules import Actor, Verb
from services.tools.queries import ToolInfo
from ui.cases.vocabulary import cause_words, trigger_label
from ui.kit.values import format_field, format_value

_DECIDED = (CaseState.RESOLVED, CaseState.CLOSED)


def case_context(
    case: Case, tool: ToolInfo, *, query: str, names: list[str], settling: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the pane shows of a case, whoever looks; `settling` are opinions to choose from."""
    blind = case.hidden
    return {
        **_facts(case, tool),
        **_tools_answer(case, blind=blind, names=names),
        "title": _title(case),
        "choices": settling or choices_of(case, tool, blind=blind),
        "others": others_of(case, tool, blind=blind, query=query),
        "query": query,
    }


def _title(case: Case) -> str:
    if case.subject_kind == SubjectKind.INCIDENT:
        return f"{case.children} cases of the same cause"
    if case.hidden:
        return "What is right?"
    if case.failure:
        return "The tool failed"
    if case.value is None:
        return "The tool's output has not come"
    titles = {"text": "Is this text right?", "fields": "Are these values right?"}
    return titles.get(case.kind or "") or f"AI said {format_value(case.value)}"


def _tools_answer(case: Case, *, blind: bool, names: list[str]) -> dict[str, Any]:
    """What the tool said, and the verdict: nothing of the tool's on a blind case."""
    value = None if blind else case.value
    return {
        "blind": blind,
        "value": value,
        "fields": [(name, format_field((value or {}).get(name))) for name in names],
        "confidence": None if blind else case.confidence,
        "failure": None if blind else case.failure,
        "verdict": case.verdict,
        "verdict_id": case.verdict_id,
        "verdict_value": format_value(case.verdict_value),
        "verdict_by": case.verdict_by,
        "verdict_note": case.verdict_note,
    }


def _facts(case: Case, tool: ToolInfo) -> dict[str, Any]:
    """What holds of a case whoever looks."""
    given = case.input or {}
    return {
        "id": case.id,
        "tool": case.tool,
        "tool_name": tool.name,
        "kind": tool.kind.value,
        "output_id": case.output_id,
        "subject": case.subject,
        "trigger": trigger_label(case.trigger),
        "text": given.get("text") or "",
        "url": given.get("url") or "",
        "language": given.get("language") or "",
        "attributes": case.attributes or {},
        "state": case.state,
        "level": case.level,
        "priority": case.priority,
        "queue": case.queue,
        "rule": "" if case.hidden else case.rule,
        "owner": case.owner_team or case.owner_person,
        "due": case.due_at,
        "open": case.state in OPEN_STATES,
        "overdue": case.overdue_since is not None,
        "paused": case.state in PAUSED,
        "wakes_at": case.wakes_at,
        "pause_reason": case.shown_reason or ("Put off" if case.state == "snoozed" else "Waits"),
        "merged": case.state == CaseState.MERGED,
        "incident": case.incident,
        "is_incident": case.subject_kind == SubjectKind.INCIDENT,
        "cause": cause_words(case.cause),
        "has_cause": case.cause is not None,
        "opened": case.opened_at,
        "version": case.output_version.label,
    }


def standing(
    case: Case,
    actor: Actor,
    *,
    barred: str = "",
    panel: Panel | None = None,
    has_parts: bool = False,
) -> dict[str, Any]:
    """What this person may do with the case.

    `barred` says why they may not judge it; others are merged into one that has parts.
    """
    mine = case.state == "claimed" and case.claimant == actor.email
    free, is_output = case.state == "open", case.subject_kind == SubjectKind.OUTPUT
    may_review = actor.may(Verb.REVIEW) and not barred and not has_parts
    if panel is not None and panel.yours is not None:
        may_review = may_review and (panel.settles or panel.alone)
    return {
        "mine": mine,
        "can_review": may_review and (free or mine),
        "can_work": actor.may(Verb.REVIEW),
        "can_hand_on": service.answers_for(actor, case),
        "can_put_off": mine or (free and service.may_put_off(actor, case)),
        "can_merge": actor.may(Verb.TAKE_OVER),
        "can_undo": may_undo(actor, case),
        "can_reopen": actor.may(Verb.REVIEW) and case.state in _DECIDED and is_output,
        "barred": barred,
        "claimant": case.claimant,
        "token": str(case.claim_seq) if mine else "",
    }


def why_barred(session: Session, actor: Actor, case: Case) -> str:
    """Why this person may not judge the case, as they have a part in it; empty where they may."""
    refused = service.refusal(session, actor, case) if case.verdict is None else None
    return refused.detail if refused is not None else ""


def may_undo(actor: Actor, case: Case) -> bool:
    """Whether this person may take the case's verdict back: while it can still be reopened."""
    theirs = case.verdict_by == actor.email or actor.may(Verb.TAKE_OVER)
    return case.state == CaseState.RESOLVED and actor.may(Verb.REVIEW) and theirs


def choices_of(case: Case, tool: ToolInfo, *, blind: bool) -> list[dict[str, Any]]:
    """The numbered verdicts: 1 is the tool's word, then what it also considered."""
    if tool.kind == "flag":
        return _flag_choices(case, blind=blind)
    if tool.kind != "category":
        can_uphold = not blind and case.value is not None
        right = {"value": "upheld", "label": "Right as it is", "hint": "change nothing"}
        return [right] if can_uphold else []
    if blind:
        return []
    right = {"value": "upheld", "label": case.value, "hint": "the AI is right"}
    choices = [{**right, "confidence": case.confidence}] if case.value is not None else []
    disputed = (case.dispute or {}).get("value")
    candidates = [disputed] if isinstance(disputed, str) else []
    candidates += [a["value"] for a in case.alternatives or () if a["value"] not in candidates]
    shares = {a["value"]: a.get("confidence") for a in case.alternatives or ()}
    choices += [
        {"value": f"is:{value}", "label": value, "confidence": shares.get(value)}
        for value in candidates[:3]
        if value != case.value and value in tool.categories
    ]
    return choices


def _flag_choices(case: Case, *, blind: bool) -> list[dict[str, Any]]:
    words = {True: "Raised", False: "Not raised"}
    if blind or case.value is None:
        return [{"value": f"is:{flag}", "label": words[flag]} for flag in (True, False)]
    return [
        {"value": "upheld", "label": words[case.value], "hint": "the AI is right"},
        {"value": f"is:{not case.value}", "label": words[not case.value]},
    ]


def others_of(case: Case, tool: ToolInfo, *, blind: bool, query: str) -> list[dict[str, Any]]:
    """The other categories, narrowed by the search."""
    if tool.kind != "category":
        return []
    offered = {c["value"].removeprefix("is:") for c in choices_of(case, tool, blind=blind)}
    offered |= set() if blind else {case.value}
    letters = query.strip().lower()
    return [
        {"value": f"is:{name}", "label": name}
        for name in tool.categories
        if name not in offered and letters in name.lower()
    ]
