"""Who asked to hear of events: connecting, removing, and what each event is sent to."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from secondlook import events
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.errors import NotFound, invalid
from services.notifications import destinations, models, rules
from services.notifications.channels.message import Line, message_of
from services.notifications.channels.webhook import new_secret
from services.notifications.deliveries import NewDelivery
from services.notifications.destinations import Network
from services.notifications.errors import NoWebhook
from services.notifications.rules import Channel
from services.people import queries as people_queries
from services.people.rules import Actor, Verb

HEARD = (
    *events.CASE_EVENT_TYPES,
    events.VERDICT_GIVEN,
    events.VERDICT_UNDONE,
    events.TOOL_CHANGED,
)
"""The types of events that can be heard."""
Heard = events.CaseMoved | events.VerdictRecorded | events.VerdictTakenBack | events.ToolMoved


class WebhookInfo(NamedTuple):
    """An address that hears of events; its secret is told once, when it is connected."""

    id: int
    channel: str
    url: str
    events: Sequence[str]
    team: str | None
    created_at: datetime


class NewWebhook(NamedTuple):
    """A webhook as it was just connected."""

    id: int
    secret: str


def add(
    session: Session,
    url: str,
    *,
    types: Iterable[str],
    allowed: Sequence[Network],
    team: str | None = None,
    channel: Channel = Channel.WEBHOOK,
    actor: Actor,
    now: datetime,
) -> NewWebhook:
    """Let an address hear of events from now on; of one team's alone, where that is given.

    Where it leads is looked at whenever something is sent, since names change what they mean.

    Args:
        allowed: networks beside the public ones that may be sent to.

    Raises:
        NotAllowed: the actor does not manage tools.
        InvalidInput: the address is none, or there is no such event.
        ForbiddenDestination: nothing would ever be sent to the address.
        NotFound: there is no such team.
    """
    actor.require(Verb.MANAGE_TOOLS)
    target = destinations.admit(url, allowed)
    if team is not None and not people_queries.team_exists(session, team):
        raise NotFound(f"There is no team '{team[:70]}'.")
    row = models.Webhook(
        channel=channel.value,
        url=url,
        events=_types(types),
        team=team,
        secret=new_secret(),
        created_at=now,
    )
    session.add(row)
    session.flush()
    # Of some addresses the path is a secret.
    note(session, now, actor.id, "add", "webhook", str(row.id), host=target.authority, team=team)
    return NewWebhook(row.id, row.secret)


def _types(given: Iterable[str]) -> list[str]:
    found = []
    for word in dict.fromkeys(given):
        type_ = rules.type_of(word, HEARD)
        if type_ is None:
            hint = "Write some of case.opened, case.escalated, case.resolved, verdict.given, …"
            raise invalid("events", f"there is no event '{word[:60]}'", hint)
        found.append(type_)
    if not found:
        raise invalid("events", "no event is named", "Write case.opened,case.resolved.")
    return found


def remove(session: Session, number: int, *, actor: Actor, now: datetime) -> None:
    """Let an address hear no more; what waits for it is not sent.

    Raises:
        NotAllowed: the actor does not manage tools.
        NoWebhook: there is none of that number.
    """
    actor.require(Verb.MANAGE_TOOLS)
    row = session.get(models.Webhook, number, with_for_update=True)
    if row is None or row.removed_at is not None:
        raise NoWebhook(f"There is no webhook {number}.")
    row.removed_at = now
    session.flush()
    session.execute(_DROP, {"id": number})
    host = destinations.parse(row.url).authority
    note(session, now, actor.id, "remove", "webhook", str(number), host=host)


_DROP = text("""
UPDATE delivery SET state = 'failed', answer = 'the webhook was removed'
WHERE webhook_id = :id AND state IN ('waiting', 'unknown')
""")


def connected(session: Session) -> list[WebhookInfo]:
    """Every address that hears of events, by number."""
    hook = models.Webhook
    found = session.scalars(select(hook).where(hook.removed_at.is_(None)).order_by(hook.id))
    return [
        WebhookInfo(row.id, row.channel, row.url, row.events, row.team, row.created_at)
        for row in found
    ]


def listed(session: Session) -> list[WebhookInfo]:
    """The same as people may see them: without what is secret of an address."""
    found = connected(session)
    return [hook._replace(url=destinations.shown(hook.url)) for hook in found]


def deliveries_of(session: Session, told: Sequence[tuple[Heard, str]]) -> list[NewDelivery]:
    """What these events, each with its JSON, are sent to. What happened before an address was
    connected is not sent there, nor what another case answers for to a chat, where people read.
    """
    if not told:
        return []
    hooks = connected(session)
    return [
        _delivery(hook, event, body)
        for event, body in told
        for hook in hooks
        if event.type in hook.events
        and event.time >= hook.created_at
        and (hook.team is None or hook.team == event.data.team)
        and not (hook.channel == Channel.SLACK and _is_of_a_part(event))
    ]


def _is_of_a_part(event: Heard) -> bool:
    return isinstance(event.data, events.CaseEvent) and event.data.state == "merged"


def _delivery(hook: WebhookInfo, event: Heard, body: str) -> NewDelivery:
    channel = Channel(hook.channel)
    payload = _said(event) if channel is Channel.SLACK else body
    return NewDelivery(channel, hook.url, payload, event.id, hook.id)


def _said(event: Heard) -> str:
    """An event as one line for a chat."""
    happened = event.type.removeprefix("secondlook.").removesuffix(".v1").replace(".", " ")
    data = event.data
    if isinstance(data, events.ToolChanged):
        line = Line(text=f"Tool {data.tool} is {data.state} now.", path=f"/health/{data.tool}")
    else:
        more = f": {data.verdict}" if isinstance(data, events.VerdictGiven) else ""
        said = f"{happened.capitalize()}: case {data.case_id} of {data.tool}{more}."
        line = Line(text=said, path=f"/c/{data.case_id}")
    return message_of((line,)).model_dump_json()
