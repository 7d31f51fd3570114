"""HTTP for people who work on cases, and for what they build on top."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from secondlook.text import ID_BYTES, NOTE_LENGTH
from sqlalchemy.orm import Session

from services.escalation import lists, queries, service
from services.escalation.cases import as_answer
from services.escalation.lists import Filter
from services.escalation.rules import CaseState, Owner
from services.kit.clock import Clock
from services.kit.database import Database
from services.kit.errors import NotFound
from services.kit.web.cursors import encode_cursor, read_cursor
from services.kit.web.idempotency import once, request_digest
from services.kit.web.storable import Storable, Text
from services.people.fields import Named, NamedActor
from services.people.rules import Actor, Verb
from services.tools.identity import Identity
from services.tools.rules import Trigger, VerdictKind

Note = Annotated[Text, Field(max_length=NOTE_LENGTH)]
Token = Annotated[str, Field(min_length=1, max_length=20)]
CaseId = Annotated[int, Field(ge=1, lt=2**63)]
Answer = dict[str, Any]
"""A JSON object."""


class Body(BaseModel):
    """A request's body: what is not named here is refused."""

    model_config = ConfigDict(extra="forbid")


class EmptyBody(Body):
    """Nothing to say."""


class ReleaseBody(Body):
    """The claim to end."""

    token: Token


class VerdictBody(Body):
    """A verdict; `value` goes with `corrected`."""

    token: Token
    verdict: VerdictKind
    value: Annotated[str | bool | dict[str, Any] | None, Storable] = None
    note: Note | None = None


class OwnerBody(Body):
    """Who shall be accountable: a team's slug or a person's e-mail address."""

    kind: Literal["person", "team"]
    id: Annotated[Text, Field(min_length=1, max_length=ID_BYTES)]


class ReassignBody(Body):
    """The new owner."""

    owner: OwnerBody
    token: Token | None = None
    note: Note | None = None


class CommentBody(Body):
    """Something to remember."""

    note: Note
    token: Token | None = None


class EscalateBody(Body):
    """The level that was seen; where the case has moved on, nothing happens."""

    level: Annotated[int, Field(strict=True, ge=0, le=1000)]
    note: Note | None = None


class UndoBody(Body):
    """The verdict that was seen; where the case has another by now, nothing happens."""

    verdict_id: Annotated[Text, Field(strict=True, min_length=1, max_length=ID_BYTES)]


class ReopenBody(Body):
    """Why it is opened again."""

    note: Note | None = None


@dataclass(frozen=True, slots=True)
class RouteDependencies:
    """What the routes of cases share."""

    database: Database
    clock: Clock
    lease: timedelta
    reopen_window: timedelta


def router(routes: RouteDependencies, identity: Identity) -> APIRouter:
    """The routes of escalation."""
    api = APIRouter(prefix="/v1/cases", tags=["escalation"])
    _add_reads(api, routes, identity)
    _add_verbs(api, routes, identity)
    return api


def _add_reads(api: APIRouter, routes: RouteDependencies, identity: Identity) -> None:
    reader = identity.may(Verb.READ_CASES)

    @api.get("")
    def list_cases(
        actor: Annotated[Actor, Depends(reader)],
        queue: Named | None = None,
        state: CaseState | None = None,
        tool: Named | None = None,
        trigger: Trigger | None = None,
        owner: NamedActor | None = None,
        claimant: NamedActor | None = None,
        overdue: bool | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: str | None = None,
    ) -> Answer:
        """Cases in sight, the soonest due first; open ones unless `state` says otherwise."""
        wanted = Filter(queue, state, tool, trigger, owner, overdue, claimant)
        with routes.database.transaction() as session:
            return page(session, actor, wanted, cursor=cursor, limit=limit)

    @api.get("/{case_id}")
    def get_case(case_id: CaseId, actor: Annotated[Actor, Depends(reader)]) -> Answer:
        """One case with its timeline: of a very long story, the newest 500 entries."""
        with routes.database.transaction() as session:
            return case_answer(session, actor, case_id)


def page(
    session: Session, actor: Actor, wanted: Filter, *, cursor: str | None, limit: int
) -> Answer:
    """A page of the list, as the API answers it."""
    after = read_cursor(cursor, int)
    found = lists.cases(session, actor, wanted, after=after, limit=limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return {
        "items": [as_answer(case) for case in found[:limit]],
        "next_cursor": encode_cursor(last.due_at.isoformat(), last.id) if last else None,
    }


def case_answer(session: Session, actor: Actor, case_id: int) -> Answer:
    """A single case, as the API answers it: with its timeline."""
    case = queries.case_for(session, actor, case_id)
    entries = [entry._asdict() for entry in queries.timeline(session, case)]
    return {**as_answer(case), "timeline": entries}


def _add_verbs(api: APIRouter, routes: RouteDependencies, identity: Identity) -> None:
    Person = Annotated[Actor, Depends(identity.may(Verb.REVIEW))]  # noqa: N806 - a type
    Key = Annotated[str | None, Header(alias="Idempotency-Key")]  # noqa: N806 - a type

    @api.post("/{case_id}/claim")
    def claim(
        case_id: CaseId, actor: Person, body: EmptyBody | None = None, key: Key = None
    ) -> Answer:
        """Take the case; a second claim by the holder renews it under the same token."""

        def do(session: Session, now: datetime) -> Answer:
            taken = service.claim(session, actor, case_id, lease=routes.lease, now=now)
            return {**taken._asdict(), "case": case_answer(session, actor, case_id)}

        return _run(routes, actor, key, ("claim", case_id), do)

    @api.post("/{case_id}/release")
    def release(case_id: CaseId, actor: Person, body: ReleaseBody, key: Key = None) -> Answer:
        """Give the case back."""

        def do(session: Session, now: datetime) -> Answer:
            service.release(session, actor, case_id, token=body.token, now=now)
            return _if_in_sight(session, actor, case_id)

        return _run(routes, actor, key, ("release", case_id, body), do)

    @api.post("/{case_id}/verdict")
    def verdict(case_id: CaseId, actor: Person, body: VerdictBody, key: Key = None) -> Answer:
        """Review the case under a live claim."""

        def do(session: Session, now: datetime) -> Answer:
            service.give_verdict(
                session,
                actor,
                service.case_for_reviewer(session, actor, case_id),
                token=body.token,
                lease=routes.lease,
                verdict=body.verdict,
                value=body.value,
                note=body.note,
                now=now,
            )
            return case_answer(session, actor, case_id)

        return _run(routes, actor, key, ("verdict", case_id, body), do)

    @api.post("/{case_id}/reassign")
    def reassign(case_id: CaseId, actor: Person, body: ReassignBody, key: Key = None) -> Answer:
        """Make somebody else accountable."""

        def do(session: Session, now: datetime) -> Answer:
            owner = Owner.of(body.owner.kind, body.owner.id)
            service.reassign(
                session, actor, case_id, owner=owner, token=body.token, note=body.note, now=now
            )
            return _if_in_sight(session, actor, case_id)

        return _run(routes, actor, key, ("reassign", case_id, body), do)

    _add_small_verbs(api, routes, Person, Key)


def _add_small_verbs(api: APIRouter, routes: RouteDependencies, person: Any, key_: Any) -> None:
    @api.post("/{case_id}/comment")
    def comment(case_id: CaseId, actor: person, body: CommentBody, key: key_ = None) -> Answer:
        """Add to the timeline; with a token it renews the claim."""

        def do(session: Session, now: datetime) -> Answer:
            service.comment(
                session,
                actor,
                case_id,
                note=body.note,
                token=body.token,
                lease=routes.lease,
                now=now,
            )
            return case_answer(session, actor, case_id)

        return _run(routes, actor, key, ("comment", case_id, body), do)

    @api.post("/{case_id}/escalate")
    def escalate(case_id: CaseId, actor: person, body: EscalateBody, key: key_ = None) -> Answer:
        """Move the case to the next rung of its ladder."""

        def do(session: Session, now: datetime) -> Answer:
            service.escalate(session, actor, case_id, level=body.level, note=body.note, now=now)
            return _if_in_sight(session, actor, case_id)

        return _run(routes, actor, key, ("escalate", case_id, body), do)

    @api.post("/{case_id}/reopen")
    def reopen(case_id: CaseId, actor: person, body: ReopenBody, key: key_ = None) -> Answer:
        """Begin a new cycle on a case that was resolved or closed."""

        def do(session: Session, now: datetime) -> Answer:
            service.reopen(session, actor, case_id, note=body.note, now=now)
            return _if_in_sight(session, actor, case_id)

        return _run(routes, actor, key, ("reopen", case_id, body), do)

    @api.post("/{case_id}/undo")
    def undo(case_id: CaseId, actor: person, body: UndoBody, key: key_ = None) -> Answer:
        """Take back the verdict just given: by its reviewer, or by a lead."""

        def do(session: Session, now: datetime) -> Answer:
            service.undo(
                session,
                actor,
                case_id,
                verdict_id=body.verdict_id,
                window=routes.reopen_window,
                now=now,
            )
            return _if_in_sight(session, actor, case_id)

        return _run(routes, actor, key, ("undo", case_id, body), do)


def _if_in_sight(session: Session, actor: Actor, case_id: int) -> Answer:
    """The case, as far as the actor still sees it, who may have for a claim's or verdict's sake."""
    try:
        return case_answer(session, actor, case_id)
    except NotFound:
        return {"id": case_id}


def _run(
    routes: RouteDependencies,
    actor: Actor,
    key: str | None,
    request: tuple[Any, ...],
    do: Callable[[Session, datetime], Answer],
) -> Answer:
    """Do a verb in one transaction, once per Idempotency-Key."""
    with routes.database.transaction() as session:
        now = routes.clock.now(session)
        answer: Answer = once(
            session,
            actor=actor.id,
            key=key,
            digest=request_digest(*request),
            do=lambda: do(session, now),
        )
        return answer
