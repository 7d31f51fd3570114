"""HTTP for tools' policies and for those who look after tools."""

from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from secondlook.policy import LEAST_STALE_SECONDS, REVIEW_CONDITIONS, write_document
from secondlook.text import CATEGORIES, NAME_LENGTH

from services.kit.clock import Clock
from services.kit.database import Database
from services.kit.errors import InvalidInput, Problem
from services.kit.web.storable import Storable, Text
from services.people.fields import Named
from services.people.rules import Actor, Verb
from services.tools import queries, service
from services.tools.identity import Identity, ToolCaller
from services.tools.queries import ToolInfo
from services.tools.rules import ToolState
from services.tools.watch import PolicyWatch, policy_tag

_LONGEST_WAIT = 60
_ASK_AGAIN_SECONDS = 10
_MOST = 20
"""So many problems of one field are listed; more are one problem."""
# Not strict, true and "1" would be numbers.
Share = Annotated[float, Field(strict=True, ge=0, le=1)]


class ToolBody(BaseModel):
    """The fields to change; those left out stay as they are."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Text, Field(min_length=1, max_length=NAME_LENGTH)] | None = None
    team: Text | None = None
    state: ToolState | None = None
    threshold: Share | None = None
    category_thresholds: (
        dict[Annotated[Text, Field(min_length=1, max_length=NAME_LENGTH)], Share] | None
    ) = None
    audit_rate: Share | None = None
    holdout_rate: Share | None = None
    maturity_seconds: Annotated[int, Field(strict=True, ge=0, lt=2**31)] | None = None
    review_when: Annotated[list[Any], Storable, Field(max_length=REVIEW_CONDITIONS)] | None = None
    max_stale_seconds: (
        Annotated[int, Field(strict=True, ge=LEAST_STALE_SECONDS, lt=2**31)] | None
    ) = None
    categories: Annotated[list[Text], Field(max_length=CATEGORIES)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _few_problems(cls, given: Any) -> Any:
        """Refuse at once what is wrong in very many places: each problem costs far more than a
        value, and nobody reads them all.
        """
        if not isinstance(given, dict):
            return given
        if len(given) > 2 * len(cls.model_fields):
            raise PydanticCustomError("many", "it has {n} members", {"n": len(given)})
        for field, is_sound in (("category_thresholds", _is_threshold), ("categories", _is_name)):
            held = given.get(field)
            entries = list(held.items()) if isinstance(held, dict) else held
            wrong = (one for one in _listed(entries) if not is_sound(one))
            if len(list(islice(wrong, _MOST))) == _MOST:
                raise PydanticCustomError(
                    "many", "{n} or more of `{field}` are wrong", {"n": _MOST, "field": field}
                )
        return given


def _listed(given: object) -> list[object]:
    return given if isinstance(given, list) else []


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= NAME_LENGTH


def _is_threshold(given: object) -> bool:
    """Whether this is a category's name with a share from 0 to 1."""
    name, share = given if isinstance(given, tuple) else ("", None)
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    return _is_name(name) and is_number and 0 <= share <= 1


def router(database: Database, clock: Clock, identity: Identity, watch: PolicyWatch) -> APIRouter:
    """The routes of tools."""
    api = APIRouter(prefix="/v1", tags=["tools"])
    _add_policy(api, identity, watch)
    _add_tools(api, database, clock, identity)
    return api


def _add_policy(api: APIRouter, identity: Identity, watch: PolicyWatch) -> None:
    @api.get("/policy", responses={304: {"description": "The policy has not changed."}})
    async def get_policy(
        caller: Annotated[ToolCaller, Depends(identity.tool)],
        wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT)] = 0,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """The tool's signed gate policy; with `wait`, as soon as it changes.

        Where too many wait already the answer comes at once, with a `Retry-After`.
        """
        tool, full = await watch.tool(caller.tool.slug, unless=if_none_match, wait=wait)
        headers = {"ETag": policy_tag(tool), "Cache-Control": "no-store"}
        if full:
            headers["Retry-After"] = str(_ASK_AGAIN_SECONDS)
        if headers["ETag"] == if_none_match:
            return Response(status_code=304, headers=headers)
        document = write_document(tool.policy, caller.key_hash)
        return Response(document, media_type="application/json", headers=headers)


def _revision(etag: str | None) -> int | None:
    """The revision that an entity tag of ours stands for; others stand for none."""
    bare = (etag or "").strip().removeprefix("W/").strip('"')
    return int(bare) if bare.isascii() and bare.isdigit() and len(bare) < 18 else None


def _add_tools(api: APIRouter, database: Database, clock: Clock, identity: Identity) -> None:
    reader = identity.may(Verb.READ_OUTPUTS)

    @api.get("/tools")
    def list_tools(actor: Annotated[Actor, Depends(reader)]) -> dict[str, Any]:
        """The tools in sight."""
        with database.transaction() as session:
            items = [tool_answer(tool) for tool in queries.visible_tools(session, actor)]
        return {"items": items, "next_cursor": None}

    @api.get("/tools/{slug}")
    def get_tool(
        slug: Named, actor: Annotated[Actor, Depends(reader)], response: Response
    ) -> dict[str, Any]:
        """One tool with its gate policy, taxonomy and state."""
        with database.transaction() as session:
            tool = queries.tool_for(session, actor, slug)
        response.headers["ETag"] = f'"{tool.revision}"'
        return tool_answer(tool)

    @api.put("/tools/{slug}")
    def put_tool(
        slug: Named,
        body: ToolBody,
        request: Request,
        actor: Annotated[Actor, Depends(identity.may(Verb.SWITCH_TOOL))],
        response: Response,
    ) -> dict[str, Any]:
        """Change the fields given; owners and ops people change the tools of their teams."""
        changes = body.model_dump(exclude_unset=True)
        with database.transaction() as session:
            service.change_tool(
                session,
                slug,
                changes,
                actor=actor,
                now=clock.now(session),
                if_revision=_revision_wanted(request),
            )
            tool = queries.tool_for(session, actor, slug)
        response.headers["ETag"] = f'"{tool.revision}"'
        return tool_answer(tool)


def _revision_wanted(request: Request) -> int | None:
    sent = request.headers.get("if-match")
    if sent is None or sent.strip() == "*":
        return None
    revision = _revision(sent)
    if revision is None:
        problem = Problem("/If-Match", "it is no revision of a tool", "Send the ETag that you got.")
        raise InvalidInput("If-Match cannot be used.", problems=(problem,))
    return revision


def tool_answer(tool: ToolInfo) -> dict[str, Any]:
    """A tool as the API shows it; the secret that draws audits stays inside."""
    policy = tool.policy
    return {
        "slug": tool.slug,
        "name": tool.name,
        "kind": tool.kind,
        "team": tool.team,
        "state": tool.state,
        "threshold": policy.threshold,
        "category_thresholds": policy.category_thresholds,
        "audit_rate": policy.audit_rate,
        "holdout_rate": policy.holdout_rate,
        "review_when": [one.model_dump(exclude_none=True) for one in policy.review_when],
        "max_stale_seconds": policy.max_stale_seconds,
        "maturity_seconds": tool.maturity_seconds,
        "categories": list(tool.categories),
        "policy_revision": policy.revision,
        "revision": tool.revision,
        "created_at": tool.created_at,
    }
