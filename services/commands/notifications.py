"""`webhooks`, `notify` and `deliveries`: who hears of what, and what came back."""

import time
from typing import Annotated

import typer
from secondlook.text import is_address

from services.commands.shared import AsJson, answer, group, operator, resources, transaction
from services.kit.errors import Unavailable, invalid
from services.notifications import queries
from services.notifications import service as notifications
from services.notifications.queries import DeliveryRow
from services.notifications.rules import Channel, DeliveryState

webhooks = group("Webhooks: addresses that hear of events.")
notify = group("Notifications: try them out.")
deliveries = group("Deliveries: what was sent where, and what came back.")

Number = Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="Its number.")]


@webhooks.command("add")
def add_webhook(
    url: Annotated[str, typer.Argument(help="Where events are posted, https://…")],
    events: Annotated[
        str, typer.Option(help="Which: case.opened,case.resolved,verdict.given,tool.changed,…")
    ],
    team: Annotated[str | None, typer.Option(help="Of this team's cases and tools alone.")] = None,
    slack: Annotated[
        bool, typer.Option("--slack", help="It is an incoming webhook of Slack's.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let an address hear of events; prints the secret that signs them, this once."""
    types = [word.strip() for word in events.split(",") if word.strip()]
    channel = Channel.SLACK if slack else Channel.WEBHOOK
    with transaction() as (found, session, now):
        made = notifications.add_webhook(
            session,
            url,
            types=types,
            allowed=found.settings.outbound_allow,
            team=team,
            channel=channel,
            actor=operator(),
            now=now,
        )
    answer({"id": made.id, "secret": made.secret}, as_json=as_json, lines=[made.secret])


@webhooks.command("list")
def list_webhooks(as_json: AsJson = False) -> None:
    """List the addresses that hear of events, without their secrets."""
    with transaction() as (_, session, _now):
        found = queries.listed(session)
    lines = [f"{w.id}  {w.channel}  {w.url}  {','.join(w.events)}  {w.team or ''}" for w in found]
    lines = lines or ["nobody hears of events yet"]
    answer([w._asdict() for w in found], as_json=as_json, lines=lines)


@webhooks.command("remove")
def remove_webhook(number: Number, as_json: AsJson = False) -> None:
    """Let an address hear no more; what waits for it is not sent."""
    with transaction() as (_, session, now):
        notifications.remove_webhook(session, number, actor=operator(), now=now)
    answer({"webhook": number}, as_json=as_json, lines=[f"webhook {number} removed"])


@notify.command("test")
def test_mail(
    email: Annotated[str, typer.Argument(help="The e-mail address.")],
    wait: Annotated[int, typer.Option(min=1, help="Seconds to wait for what comes back.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Mail a test, and say what the mail server answered."""
    if not is_address(email):
        raise invalid("email", f"'{email[:60]}' is no e-mail address", "Write name@domain.")
    with resources() as found:
        with found.database.transaction() as session:
            now = found.clock.now(session)
            number = notifications.send_test(session, email, actor=operator(), now=now)
        deadline = time.monotonic() + wait
        while True:
            with found.database.transaction() as session:
                row = queries.delivery(session, number)
            if row.state in (DeliveryState.SENT, DeliveryState.FAILED) or row.answer:
                break
            if time.monotonic() > deadline:
                raise Unavailable("Nobody has sent it yet: is `tick` running? It will be sent.")
            time.sleep(0.2)
    answer(_as_data(row), as_json=as_json, lines=[_as_line(row)])
    if row.state != DeliveryState.SENT:
        raise typer.Exit(1)


@deliveries.command("list")
def list_deliveries(
    state: Annotated[DeliveryState | None, typer.Option(help="Only those that stand so.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many, the newest.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """List what was sent where, and what came back, the newest first."""
    with transaction() as (_, session, _now):
        found = queries.deliveries(session, state=state, limit=limit)
    lines = [_as_line(row) for row in found] or ["nothing of that kind"]
    answer([_as_data(row) for row in found], as_json=as_json, lines=lines)


@deliveries.command("retry")
def retry_delivery(number: Number, as_json: AsJson = False) -> None:
    """Try again to send what was given up."""
    with transaction() as (_, session, now):
        notifications.retry(session, number, actor=operator(), now=now)
    answer({"delivery": number}, as_json=as_json, lines=[f"delivery {number} is tried again"])


def _as_data(row: DeliveryRow) -> dict[str, object]:
    return row._asdict()


def _as_line(row: DeliveryRow) -> str:
    tries = "1 attempt" if row.attempts == 1 else f"{row.attempts} attempts"
    return f"{row.id}  {row.channel}  {row.to}  {row.state}  {tries}  {row.answer or ''}".rstrip()
