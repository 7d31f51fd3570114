"""HTTP for people who work on cases, and for what they build on top."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query
from sqlalchemy.orm import Session

from services.escalation import bulk, lists, opinions, precedents, queries
from services.escalation.bodies import BulkBody, CaseId
from services.escalation.cases import as_answer
from services.escalation.lists import Filter
from services.escalation.rules import CaseState
from services.escalation.verbs import VERBS, CaseVerb, Limits, Work
from services.kit.clock import Clock
from services.kit.database import Database
from services.kit.errors import NotFound
from services.kit.web.cursors import encode_cursor, read_cursor
from services.kit.web.idempotency import once, request_digest
from services.people.fields import Named, NamedActor
from services.people.rules import Actor, Verb
from services.tools.identity import Identity
from services.tools.rules import Trigger

Answer = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class RouteDependencies:
    """What the routes of cases share."""

    database: Database
    clock: Clock
    limits: Limits


def router(routes: RouteDependencies, identity: Identity) -> APIRouter:
    """The routes of escalation."""
    api = APIRouter(prefix="/v1/cases", tags=["escalation"])
    _add_reads(api, routes, identity)
    _add_bulk(api, routes, identity)
    for name, verb in VERBS.items():
        _add_verb(api, routes, identity, name, verb)
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
        incident: Annotated[int, Query(ge=1, lt=2**63)] | None = None,
        overdue: bool | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: str | None = None,
    ) -> Answer:
        """Cases in sight, the soonest due first; open ones unless `state` says otherwise."""
        wanted = Filter(queue, state, tool, trigger, owner, overdue, claimant, incident=incident)
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
    entries = [entry._asdict() for entry in queries.timeline(session, case, reader=actor.email)]
    said = opinions.as_answer(session, actor, case)
    similar = precedents.as_answer(session, actor, case)
    return {**as_answer(case), **said, "similar": similar, "timeline": entries}


def _add_verb(
    api: APIRouter, routes: RouteDependencies, identity: Identity, name: str, verb: CaseVerb
) -> None:
    person: Any = Annotated[Actor, Depends(identity.may(Verb.REVIEW))]
    kind: Any = verb.body if _needs_body(verb) else verb.body | None
    default: Any = ... if _needs_body(verb) else None

    @api.post(f"/{{case_id}}/{name}", name=name, description=verb.says)
    def endpoint(
        case_id: CaseId,
        actor: person,
        body: kind = Body(default),  # noqa: B008 - FastAPI's way to say it
        key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
    ) -> Answer:
        given = body or verb.body()

        def do(session: Session, now: datetime) -> Answer:
            answer = verb.do(Work(session, actor, case_id, routes.limits, now), given)
            shown = _if_in_sight(session, actor, case_id)
            return shown if answer is None else {**answer, "case": shown}

        return _run(routes, actor, key, (name, case_id, given), do)


def _add_bulk(api: APIRouter, routes: RouteDependencies, identity: Identity) -> None:
    person: Any = Annotated[Actor, Depends(identity.may(Verb.REVIEW))]

    @api.post("/bulk")
    def do_to_all(
        actor: person,
        body: BulkBody,
        key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
    ) -> Answer:
        """Do one verb to many cases: those that it can be done to, and of the others why not."""
        bulk.checked(body.verb, body.body)

        def do(session: Session, now: datetime) -> Answer:
            work = Work(session, actor, body.ids[0], routes.limits, now)
            outcome = bulk.do_to_all(work, body.verb, body.ids, body.body)
            return {"done": outcome.done, "skipped": [one._asdict() for one in outcome.skipped]}

        return _run(routes, actor, key, ("bulk", body), do)


def _needs_body(verb: CaseVerb) -> bool:
    return any(field.is_required() for field in verb.body.model_fields.values())


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
