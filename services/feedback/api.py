"""HTTP for tools and people: events in, outputs and their decided truth out."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple, cast

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic_core import to_json
from secondlook import events, gate
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback import queries
from services.feedback.intake import Entry, Intake, Submission, ToolsEvent
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotAllowed, NotFound, Problem
from services.kit.web.idempotency import require_key
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.gating import decide_output
from services.tools.identity import Identity, ToolCaller
from services.tools.queries import ToolInfo
from services.tools.rules import value_problem


class ShownCase(NamedTuple):
    """An output's case, as far as whoever asks may see it."""

    answer: dict[str, Any] | None
    blind: bool
    """Whether nobody may be told yet what the tool said."""


CaseOfOutput = Callable[[Session, Actor | None, str, str], ShownCase]
"""What escalation knows of an output's case, for a person or, without one, for its tool."""

BODY_MODELS = (events.OutputRecorded, events.Output, events.Correction)
"""The contracts that bodies are read by; the app puts them into the OpenAPI document."""


def router(
    database: Database, intake: Intake, identity: Identity, case_of_output: CaseOfOutput
) -> APIRouter:
    """The routes of feedback."""
    api = APIRouter(prefix="/v1", tags=["feedback"])
    _add_intake(api, intake, identity)
    _add_reads(api, database, identity, case_of_output)
    return api


# --- in ---------------------------------------------------------------------------------


def _add_intake(api: APIRouter, intake: Intake, identity: Identity) -> None:
    @api.post("/events", status_code=202, openapi_extra=_body("OutputRecorded"))
    async def post_events(
        request: Request, caller: Annotated[ToolCaller, Depends(identity.tool)]
    ) -> JSONResponse:
        """CloudEvents of the tool's own, one or a batch; answered once they are durable."""
        raw = await request.body()
        entries = _entries_of_events(raw, request, caller.tool)
        await _submit(intake, entries)
        return JSONResponse({"accepted": len(entries)}, 202)

    @api.post("/outputs", status_code=202, openapi_extra=_body("Output"))
    async def post_outputs(
        request: Request, caller: Annotated[ToolCaller, Depends(identity.tool)]
    ) -> JSONResponse:
        """One output or up to 1,000, with what the gate says of each."""
        single, outputs = _read(events.validate_outputs, await request.body())
        now = datetime.now(UTC)
        entries, results = [], []
        for position, output in enumerate(outputs):
            pointer = "" if single else f"/{position}"
            _require_kind(caller.tool, output.kind, f"{pointer}/kind")
            decision = decide_output(output, caller.tool)
            results.append(_result(output, decision))
            entries.append(Entry(pointer, _recorded(caller.tool, output, decision, now)))
        await _submit(intake, entries)
        return JSONResponse({"results": results}, 202)

    @api.post("/corrections", status_code=202, openapi_extra=_body("Correction"))
    async def post_corrections(
        request: Request,
        caller: Annotated[ToolCaller, Depends(identity.tool)],
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> JSONResponse:
        """One correction, confirmation, dispute or appeal, or up to 1,000."""
        if idempotency_key is not None:
            require_key(idempotency_key)
        single, corrections = _read(events.validate_corrections, await request.body())
        now = datetime.now(UTC)
        entries = []
        for position, correction in enumerate(corrections):
            pointer = "" if single else f"/{position}"
            require_value(caller.tool, correction.value, pointer=f"{pointer}/value")
            name = correction_id(correction, idempotency_key, position)
            event = events.correction_recorded(
                caller.tool.slug, correction, time=now, event_id=name
            )
            entries.append(Entry(pointer, event))
        await _submit(intake, entries)
        results = [{"output_id": e.event.data.output_id, "id": e.event.id} for e in entries]
        return JSONResponse({"results": results}, 202)


def _body(model: str) -> dict[str, Any]:
    """A raw body's schema for the OpenAPI document: one of `model`, or a list of them."""
    one = {"$ref": f"#/components/schemas/{model}"}
    either = {"anyOf": [one, {"type": "array", "items": one, "maxItems": events.BATCH_ENTRIES}]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": either}}}}


async def _submit(intake: Intake, entries: Sequence[Entry]) -> None:
    if entries:
        await asyncio.wrap_future(intake.worker.submit(Submission(entries)))


def _read(validate: Callable[[bytes], Any], raw: bytes) -> tuple[bool, Any]:
    """The body's models, and whether it was a single one."""
    try:
        return raw.lstrip()[:1] != b"[", validate(raw)
    except events.InvalidEvent as error:
        raise _as_invalid_input(error) from None


def _as_invalid_input(error: events.InvalidEvent) -> InvalidInput:
    problems = tuple(Problem(p.pointer, p.problem, p.hint) for p in error.problems)
    first = problems[0]
    detail = f"{first.pointer or 'The body'}: {first.problem}. Nothing was taken."
    return InvalidInput(detail, problems=problems)


def _entries_of_events(raw: bytes, request: Request, tool: ToolInfo) -> list[Entry]:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    single = media != "application/cloudevents-batch+json" and raw.lstrip()[:1] != b"["
    try:
        if single:
            found = [events.decode(raw, request.headers.items())]
        else:
            found = events.decode_batch(raw)
    except events.UnknownEventType as error:
        problem = Problem("/type", str(error), "Send a type that /v1 knows, or upgrade the server.")
        raise InvalidInput(str(error), problems=(problem,)) from None
    except events.InvalidEvent as error:
        raise _as_invalid_input(error) from None
    # What is no event of a tool is refused before anybody looks into it.
    theirs = cast("list[ToolsEvent]", found)
    entries = [Entry("" if single else f"/{n}", one, named=True) for n, one in enumerate(theirs)]
    for entry in entries:
        _require_own(entry, tool)
    return entries


def _require_own(entry: Entry, tool: ToolInfo) -> None:
    """Refuse what this tool's key may not send."""
    event = entry.event
    if event.type not in events.TOOL_EVENT_TYPES:
        problem = Problem(f"{entry.pointer}/type", f"{event.type} is Secondlook's own", "Leave it.")
        raise NotAllowed("A tool's key cannot send events of Secondlook.", problems=(problem,))
    if event.source != f"/tools/{tool.slug}":
        hint = f"Send `/tools/{tool.slug}`: the key names the tool."
        problem = Problem(f"{entry.pointer}/source", "it is another tool's", hint)
        raise NotAllowed("The key is another tool's.", problems=(problem,))
    if isinstance(event, events.OutputRecorded):
        _require_kind(tool, event.data.kind, f"{entry.pointer}/data/kind")
    elif isinstance(event, events.CorrectionRecorded):
        require_value(tool, event.data.value, pointer=f"{entry.pointer}/data/value")


def _require_kind(tool: ToolInfo, kind: str, pointer: str) -> None:
    if kind != tool.kind:
        problem = Problem(pointer, f"'{tool.slug}' returns {tool.kind}", f"Send kind {tool.kind}.")
        raise InvalidInput(f"{pointer}: {problem.problem}.", problems=(problem,))


def require_value(tool: ToolInfo, value: Any, *, pointer: str) -> None:
    """Refuse a corrected value that does not suit the tool.

    Raises:
        InvalidInput: naming the field.
    """
    if value is None:
        return
    problem = value_problem(tool.kind, tool.ever_categories, value, pointer=pointer)
    if problem is not None:
        raise InvalidInput(f"{pointer}: {problem.problem}.", problems=(problem,))


def _recorded(
    tool: ToolInfo, output: events.Output, decision: gate.Decision, now: datetime
) -> events.OutputRecorded:
    """The event of an output, with the gate's answer where the sender gave none."""
    if output.disposition is None:
        decided = {
            "disposition": decision.disposition,
            "policy_revision": decision.policy_revision,
        }
        output = output.model_copy(update=decided)
    return events.output_recorded(tool.slug, output, time=now)


def _result(output: events.Output, decision: gate.Decision) -> dict[str, Any]:
    return {
        "output_id": output.output_id,
        "disposition": output.disposition or decision.disposition,
        "reason": decision.reason,
        "policy_revision": decision.policy_revision,
        "condition": decision.condition,
    }


def correction_id(
    correction: events.Correction, idempotency_key: str | None, position: int
) -> str | None:
    """The event id that makes a repeated request the same event, or None for a new one.

    With an Idempotency-Key it follows from that; with an `occurred_at` from the content,
    because a person says one thing at one moment once.
    """
    if idempotency_key is not None:
        named = f"{idempotency_key}/{position}".encode()
    elif correction.occurred_at is not None:
        named = to_json(correction)
    else:
        return None
    return f"correction-{blake2b(named, digest_size=16).hexdigest()}"


# --- out --------------------------------------------------------------------------------


def _add_reads(
    api: APIRouter, database: Database, identity: Identity, case_of_output: CaseOfOutput
) -> None:
    @api.get("/outputs/{output_id:path}")
    def get_output(
        output_id: str,
        caller: Annotated[Actor | ToolCaller, Depends(identity.caller)],
        tool: Annotated[str | None, Query(description="The tool's slug; people name it.")] = None,
    ) -> dict[str, Any]:
        """An output, what was said of it, its case and the decided value."""
        with database.transaction() as session:
            slug = _readable_tool(session, caller, tool)
            return output_answer(session, caller, slug, output_id, case_of_output)

    @api.get("/datasets/corrections")
    def get_dataset(
        actor: Annotated[Actor, Depends(identity.may(Verb.EXPORT))],
        tool: Annotated[str, Query(description="The tool's slug.")],
    ) -> StreamingResponse:
        """Every output whose truth is decided, one JSON object a line, for training.

        The last line is `{"end": true, "rows": …}`: without it the answer was cut off.
        """
        with database.transaction() as session:
            tool_queries.tool_for(session, actor, tool)
            until = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return StreamingResponse(_lines(database, tool, until), media_type="application/x-ndjson")


def _lines(database: Database, tool: str, until: datetime) -> Iterator[bytes]:
    """The rows page by page: no transaction waits for a reader who is slow."""
    rows, after = 0, queries.BEFORE_ALL
    while True:
        with database.transaction() as session:
            page = queries.decided_outputs(session, tool, until=until, after=after)
        for row in page:
            yield to_json(row) + b"\n"
        rows += len(page)
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
    case_of_output: CaseOfOutput,
) -> dict[str, Any]:
    """An output as the API shows it.

    While its case is blind, nobody who reads cases is told what the tool said: what one reads
    a reviewer may hear of. Reps work with outputs and know of no audit. A case out of the
    caller's sight is not shown.
    """
    row = queries.output(session, tool, output_id)
    person = caller if isinstance(caller, Actor) else None
    case = case_of_output(session, person, tool, output_id)
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
