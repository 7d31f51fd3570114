"""HTTP for tools and people: events in, outputs and their decided truth out."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic_core import to_json
from secondlook import events
from secondlook.gate import GatePolicy
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback import queries
from services.feedback.admission import Admission
from services.feedback.intake import Intake, Submission
from services.feedback.queries import OutputWhole
from services.feedback.receiving import (
    Received,
    receive_corrections,
    receive_events,
    receive_outputs,
)
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotAllowed, NotFound, Problem
from services.kit.web.idempotency import require_key
from services.people.fields import Named
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.identity import Identity, ToolCaller
from services.tools.policies import Asked, PoliciesFor, PolicyHistory, PolicyNotKept


class ShownCase(NamedTuple):
    """An output's case, as far as whoever asks may see it."""

    answer: dict[str, Any] | None
    blind: bool
    """Whether nobody may be told yet what the tool said."""


class CaseLookup(NamedTuple):
    """What escalation knows of the cases on outputs."""

    of_output: Callable[[Session, Actor | None, OutputWhole], ShownCase]
    """An output's case, for a person or, without one, for its tool."""
    blind: Callable[[Session, str, Mapping[str, bool]], Collection[str]]
    """Those of a tool's outputs of which nobody may be told yet what the tool said; they are
    given by their ids, each with whether it waits for an audit's verdict."""


BODY_MODELS = (events.OutputRecorded, events.Output, events.Correction)
"""The contracts that bodies are read by; the app puts them into the OpenAPI document."""


_LARGE = 64 * 1024
"""Bodies beyond this are read on a thread: meanwhile the event loop answers others."""
_MANY_STEPS = 20_000
"""And so are those whose outputs the gate may need so many steps for together."""


def router(
    database: Database,
    intake: Intake,
    admission: Admission,
    identity: Identity,
    cases: CaseLookup,
) -> APIRouter:
    """The routes of feedback."""
    api = APIRouter(prefix="/v1", tags=["feedback"])
    _add_intake(api, _Receiver(database, intake, admission), identity)
    _add_reads(api, database, identity, cases)
    return api


# --- in ---------------------------------------------------------------------------------


Read = Callable[[bytes, PoliciesFor], Received]
"""Makes entries of a body."""


class _TakesLong(Exception):
    """To decide here would hold up everybody."""


class _Receiver:
    """Takes what tools send: read within bounds, and answered once it is durable."""

    def __init__(self, database: Database, intake: Intake, admission: Admission) -> None:
        self._database, self._intake, self._admission = database, intake, admission
        self._policies = PolicyHistory()
        # All of it holds the interpreter: more threads would only make the loop wait longer.
        self._readers = CapacityLimiter(1)

    async def take(self, request: Request, caller: ToolCaller, read: Read) -> Received:
        """Read the body by `read` and put what it holds onto the log.

        Raises:
            TooMany: the tool is to send no more for a while.
            InvalidInput: something of it is not valid; nothing is taken.
        """
        await self._admission.require(caller.tool.slug)
        received = await self._read(await request.body(), read)
        if received.entries:
            submission = Submission(received.entries)
            submitted = self._intake.worker.submit(submission, caller.tool.slug)
            self._admission.count(caller.tool.slug, len(received.entries))
            await asyncio.wrap_future(submitted)
        return received

    async def _read(self, raw: bytes, read: Read) -> Received:
        if len(raw) <= _LARGE:
            with suppress(PolicyNotKept, _TakesLong):
                return read(raw, self._quick_policies_for)
        return await to_thread.run_sync(read, raw, self._policies_for, limiter=self._readers)

    def _quick_policies_for(self, asked: Sequence[Asked]) -> Sequence[GatePolicy]:
        """The policies that outputs go by, where all are kept and ask for little."""
        policies = self._policies.kept(asked)
        if sum(policy.steps for policy in policies) > _MANY_STEPS:
            raise _TakesLong
        return policies

    def _policies_for(self, asked: Sequence[Asked]) -> Sequence[GatePolicy]:
        """The policies that outputs go by; the database is asked for what is not kept alone."""
        try:
            return self._policies.kept(asked)
        except PolicyNotKept:
            with self._database.transaction() as session:
                return self._policies.read(session, asked)


def _add_intake(api: APIRouter, receiver: _Receiver, identity: Identity) -> None:
    @api.post("/events", status_code=202, openapi_extra=_body("OutputRecorded"))
    async def post_events(
        request: Request, caller: Annotated[ToolCaller, Depends(identity.tool)]
    ) -> Response:
        """CloudEvents of the tool's own, one or a batch; answered once they are durable.

        What is of a type or version that this server does not know is `parked`: kept as it
        came, for a later release.
        """
        headers = request.headers.items()
        received = await receiver.take(
            request, caller, lambda raw, _: receive_events(raw, headers, caller.tool)
        )
        accepted = sum(not entry.parked for entry in received.entries)
        return _accepted({"accepted": accepted, "results": received.results})

    @api.post("/outputs", status_code=202, openapi_extra=_body("Output"))
    async def post_outputs(
        request: Request, caller: Annotated[ToolCaller, Depends(identity.tool)]
    ) -> Response:
        """One output or up to 1,000, with what the gate says of each."""
        received = await receiver.take(
            request,
            caller,
            lambda raw, policies_for: receive_outputs(
                raw, caller.tool, datetime.now(UTC), policies_for
            ),
        )
        return _accepted({"results": received.results})

    @api.post("/corrections", status_code=202, openapi_extra=_body("Correction"))
    async def post_corrections(
        request: Request,
        caller: Annotated[ToolCaller, Depends(identity.tool)],
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Response:
        """One correction, confirmation, dispute or appeal, or up to 1,000."""
        if idempotency_key is not None:
            require_key(idempotency_key)
        received = await receiver.take(
            request,
            caller,
            lambda raw, _: receive_corrections(
                raw, caller.tool, datetime.now(UTC), idempotency_key=idempotency_key
            ),
        )
        return _accepted({"results": received.results})


def _accepted(answer: dict[str, Any]) -> Response:
    return Response(to_json(answer), 202, media_type="application/json")


def _body(model: str) -> dict[str, Any]:
    """A raw body's schema for the OpenAPI document: one of `model`, or a list of them."""
    one = {"$ref": f"#/components/schemas/{model}"}
    either = {"anyOf": [one, {"type": "array", "items": one, "maxItems": events.BATCH_ENTRIES}]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": either}}}}


# --- out --------------------------------------------------------------------------------


def _add_reads(api: APIRouter, database: Database, identity: Identity, cases: CaseLookup) -> None:
    @api.get("/outputs/{output_id:path}")
    def get_output(
        output_id: Named,
        caller: Annotated[Actor | ToolCaller, Depends(identity.caller)],
        tool: Annotated[Named | None, Query(description="The tool's slug; people name it.")] = None,
    ) -> dict[str, Any]:
        """An output, what was said of it, its case and the decided value."""
        with database.transaction() as session:
            slug = _readable_tool(session, caller, tool)
            return output_answer(session, caller, slug, output_id, cases)

    @api.get("/datasets/corrections")
    def get_dataset(
        actor: Annotated[Actor, Depends(identity.may(Verb.EXPORT))],
        tool: Annotated[Named, Query(description="The tool's slug.")],
    ) -> StreamingResponse:
        """Every output whose truth is decided, one JSON object a line, for training.

        An audited one is not there before its verdict: whoever reads this may be its reviewer.
        The last line is `{"end": true, "rows": …}`: without it the answer was cut off.
        """
        with database.transaction() as session:
            tool_queries.tool_for(session, actor, tool)
            until = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return StreamingResponse(
            _lines(database, cases, tool, until), media_type="application/x-ndjson"
        )


def _lines(database: Database, cases: CaseLookup, tool: str, until: datetime) -> Iterator[bytes]:
    """The rows page by page: no transaction waits for a reader who is slow."""
    rows, after = 0, queries.BEFORE_ALL
    while True:
        with database.transaction() as session:
            page = queries.decided_outputs(session, tool, until=until, after=after)
            pending = {row.output_id: row.audit_pending for row in page}
            blind = cases.blind(session, tool, pending)
        shown = [row for row in page if row.output_id not in blind]
        for row in shown:
            yield to_json(row, exclude={"audit_pending"}) + b"\n"
        rows += len(shown)
        if not page:
            break
        after = (page[-1].recorded_at, page[-1].output_id)
    yield to_json({"end": True, "rows": rows}) + b"\n"


def _readable_tool(session: Session, caller: Actor | ToolCaller, named: str | None) -> str:
    if isinstance(caller, ToolCaller):
        if named not in (None, caller.tool.slug):
            raise NotFound(f"There is no tool '{named}'.")
        return caller.tool.slug
    if not caller.may(Verb.READ_OUTPUTS):
        raise NotAllowed("Your role does not read outputs.")
    if named is None:
        problem = Problem("/tool", "it is missing", "Add ?tool=<slug>; ids are unique per tool.")
        raise InvalidInput("tool: name the tool.", problems=(problem,))
    return tool_queries.tool_for(session, caller, named).slug


_ANSWERED = (
    *("output_id", "tool", "version", "subject", "kind", "value", "confidence", "alternatives"),
    *("input", "attributes", "cohort", "latency_ms", "cost", "failure", "disposition"),
    *("gate_reason", "condition", "policy_revision", "occurred_at", "recorded_at"),
)
_TOOLS_WORD = frozenset(
    {"value", "confidence", "alternatives", "failure", "gate_reason", "disposition", "condition"}
)


def output_answer(
    session: Session,
    caller: Actor | ToolCaller,
    tool: str,
    output_id: str,
    cases: CaseLookup,
) -> dict[str, Any]:
    """An output as the API shows it.

    While its case is blind, nobody who reads cases is told what the tool said: what one reads
    a reviewer may hear of. Reps work with outputs and know of no audit. A case out of the
    caller's sight is not shown.
    """
    row = queries.output(session, tool, output_id)
    person = caller if isinstance(caller, Actor) else None
    case = cases.of_output(session, person, row)
    hide = case.blind and person is not None and person.may(Verb.READ_CASES)
    said = [
        {**word._asdict(), "withdrawn": word.withdrawn}
        for word in queries.corrections(session, tool, output_id)
    ]
    return {
        "output": {
            name: getattr(row, name) for name in _ANSWERED if not (hide and name in _TOOLS_WORD)
        },
        "decided_value": None if hide else row.decided_value,
        "decided_by": None if hide else row.decided_by,
        "overridden": None if hide else row.overridden,
        "corrections": [] if hide else said,
        "case": case.answer,
    }
