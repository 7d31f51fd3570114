"""One verb on many cases: those that it can be done to, and of the others why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from services.escalation import bodies, queries, service
from services.escalation.bodies import Body
from services.escalation.cases import Case
from services.escalation.notes import checked_note, require_note
from services.escalation.rules import CaseState, SubjectKind
from services.escalation.verbs import VERBS, Work
from services.kit.errors import InvalidInput, NotAllowed, Problem, SecondlookError, invalid
from services.tools.rules import VerdictKind

_KNOWN: Mapping[str, Any] = {"token": "0", "level": 0, "verdict_id": "seen"}
"""What is filled in case by case, as it may be left out."""


class Skipped(NamedTuple):
    """A case that nothing was done to."""

    id: int
    why: str


@dataclass(slots=True)
class Outcome:
    """What became of the cases that were named."""

    done: list[int] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def named(self) -> set[int]:
        """Every case of which it is known."""
        return {*self.done, *(one.id for one in self.skipped)}


def checked(verb: str, body: Mapping[str, Any]) -> None:
    """Refuse what could be done to no case.

    Raises:
        InvalidInput: there is no such verb, or its body is wrong; every problem names its field.
    """
    if verb not in VERBS:
        raise invalid("verb", f"'{verb[:20]}' is none", f"Use one of {', '.join(VERBS)}.")
    model = VERBS[verb].body
    known = {name: value for name, value in _KNOWN.items() if name in model.model_fields}
    try:
        model.model_validate({**known, **body})
    except ValidationError as error:
        problems = tuple(
            Problem("/body" + "".join(f"/{step}" for step in item["loc"]), item["msg"], _HINT)
            for item in error.errors(include_url=False)
        )
        raise InvalidInput(f"The body does not suit '{verb}'.", problems=problems) from None
    if verb == "verdict":
        _require_note(body)


def _require_note(body: Mapping[str, Any]) -> None:
    try:
        require_note(VerdictKind(body["verdict"]), checked_note(body.get("note")))
    except InvalidInput as error:
        problems = tuple(replace(one, pointer=f"/body{one.pointer}") for one in error.problems)
        raise InvalidInput(error.detail, problems=problems) from None


_HINT = "Send what the verb takes on a single case."


def do_to_all(work: Work, verb: str, ids: Sequence[int], body: Mapping[str, Any]) -> Outcome:
    """Do a verb to each of these cases by itself, as `work` does on one of them; what one refuses
    leaves the others alone.

    All are locked at first, in the order in which everybody locks them.
    """
    locked = {*_beside(work, verb, ids, body), *ids, *queries.wholes(work.session, ids)}
    there = {case.id: case for case in queries.lock(work.session, sorted(locked))}
    # What a case is part of goes before it: a verdict on that is undone before its parts' are.
    left = dict.fromkeys(sorted(ids, key=lambda id_: id_ in there and bool(there[id_].merged_at)))
    outcome = _together(work, verb, there, ids, body)
    for number in outcome.named:
        left.pop(number, None)
    for number in left:
        one = replace(work, case_id=number)
        try:
            with work.session.begin_nested():
                if number not in there:
                    raise queries.missing(number)
                VERBS[verb].do(one, _filled(one, there[number], verb, body))
        except SecondlookError as error:
            outcome.skipped.append(Skipped(number, error.detail))
        else:
            outcome.done.append(number)
    return outcome


def _beside(work: Work, verb: str, ids: Sequence[int], body: Mapping[str, Any]) -> Sequence[int]:
    """The cases that a verb changes beside those that are named, and what they are part of."""
    if verb == "merge":
        into = bodies.MergeBody.model_validate(body).into
        return [into, *queries.wholes(work.session, [into])]
    return service.undone_with(work.session, ids) if verb == "undo" else []


def _together(
    work: Work, verb: str, there: Mapping[int, Case], ids: Sequence[int], body: Mapping[str, Any]
) -> Outcome:
    """Decide at once, or take back, what is part of another case."""
    known = [there[id_] for id_ in dict.fromkeys(ids) if id_ in there]
    if verb == "verdict":
        parts = [case.id for case in known if case.state == CaseState.MERGED]
        return _decide_parts(work, parts, ids, body) if parts else Outcome()
    if verb == "undo" and body.get("verdict_id") is None:
        return _undo_parts(work, known)
    return Outcome()


def _undo_parts(work: Work, known: Sequence[Case]) -> Outcome:
    """Take back what was decided as part of another case, but for what waits for that to be."""
    by_themselves = {one.id for one in known if one.subject_kind != SubjectKind.INCIDENT}
    parts = [
        case.id
        for case in known
        if case.merged_at and case.verdict and case.incident not in by_themselves
    ]
    window = work.limits.reopen_window
    found = service.undo_parts(work.session, work.actor, parts, window=window, now=work.now)
    skipped = [Skipped(id_, error.detail) for id_, error in found.skipped.items()]
    asked = {case.id for case in known}
    return Outcome([*found.done, *(id_ for id_ in found.wholes if id_ in asked)], skipped)


def _decide_parts(
    work: Work, parts: Sequence[int], ids: Sequence[int], body: Mapping[str, Any]
) -> Outcome:
    said = bodies.VerdictBody.model_validate({"token": _KNOWN["token"], **body})
    judgement = service.Judgement(said.verdict, said.value, said.note)
    lease = work.limits.lease
    found = service.decide(work.session, work.actor, parts, judgement, lease=lease, now=work.now)
    # What they were part of is decided with the last of them.
    done = [*found.done, *(id_ for id_ in found.wholes if id_ in ids)]
    return Outcome(done, [Skipped(id_, why) for id_, why in found.skipped.items()])


def _filled(work: Work, case: Case, verb: str, body: Mapping[str, Any]) -> Body:
    """The body of a verb on one case, with what this case alone knows."""
    model, given = VERBS[verb].body, dict(body)
    queries.require_sight(work.actor, case)
    if verb == "verdict" and case.reviewers > 1:
        raise NotAllowed("Several people review it, each by themselves: look at it by itself.")
    if verb == "verdict" and case.hidden:
        raise NotAllowed("It is shown blind: look at it by itself.")
    if "level" in model.model_fields:
        given.setdefault("level", case.level)
    token = model.model_fields.get("token")
    if token is not None and given.get("token") is None:
        needed = token.is_required() and verb != "release"
        given["token"] = _token(work, case, needed=needed) or ("0" if token.is_required() else None)
    return model.model_validate(given)


def _token(work: Work, case: Case, *, needed: bool) -> str | None:
    """The actor's claim on a case, which is claimed now where the verb needs that."""
    if needed:
        claim: service.Claim = work.do(service.claim, lease=work.limits.lease)
        return claim.token
    held = case.state == CaseState.CLAIMED and case.claimant == work.actor.email
    return str(case.claim_seq) if held else None
