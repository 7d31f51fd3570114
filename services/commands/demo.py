"""`demo`: the example tool and its people, played through the real services."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer

from services.app import roles as app_roles
from services.app.resources import Resources
from services.commands.shared import AsJson, answer, resources
from services.kit.consuming import offsets, outbox
from services.kit.database import Session
from services.kit.errors import Conflict, InvalidInput, Problem, Unavailable
from services.kit.processes import listening
from services.kit.settings import Settings, load_settings
from services.people import access
from services.people import queries as people_queries
from services.people import service as people_service
from services.people.rules import Actor, Role
from services.tools import keys as tool_keys
from services.tools import queries as tool_queries
from services.tools import service as tool_service
from services.tools.rules import OutputKind

TOOL = "ticket-categoriser"
TEAM = "ticket-triage"
ACTOR = Actor("demo", "Demo", Role.ADMIN, frozenset())
_PEOPLE = {
    "rep@demo.example": ("Rita Rep", Role.REP),
    "owner@demo.example": ("Olga Owner", Role.OWNER),
    "owner2@demo.example": ("Omar Owner", Role.OWNER),
    "ops@demo.example": ("Otto Ops", Role.OPS),
    "lead@demo.example": ("Lea Lead", Role.LEAD),
    "admin@demo.example": ("Ada Admin", Role.ADMIN),
    "auditor@demo.example": ("Aki Auditor", Role.AUDITOR),
}
_OWNERS = ("owner@demo.example", "owner2@demo.example")
_REP, _LEAD = "rep@demo.example", "lead@demo.example"
_THRESHOLD, _AUDIT_RATE = 0.5, 0.02
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Props:
    """The tool's key and people's tokens, fresh for this run."""

    key: str
    owner_tokens: list[str]
    lead_token: str | None
    run: str


def demo(
    data: Annotated[Path | None, typer.Option(help="CSV with the columns text,category.")] = None,
    tickets: Annotated[int | None, typer.Option(min=1, help="How many tickets arrive.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same story.")] = 1,
    speed: Annotated[float, typer.Option(min=0, help="Tickets a second; 0: no waiting.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Play the example: a pilot goes live, people correct it, it is trained again."""
    settings = load_settings()
    with ExitStack() as stack:
        address = stack.enter_context(_server(settings))
        found = stack.enter_context(resources("demo"))
        played = _play(found, address, data, tickets, seed, speed)
    from examples.ticket_categoriser.demo import report

    result = {"tool": TOOL, "versions": [version.as_answer() for version in played]}
    answer(result, as_json=as_json, lines=report(TOOL, played))


def _play(
    found: Resources, address: str, data: Path | None, tickets: int | None, seed: int, speed: float
) -> Any:
    story = _require_example()
    cast = _cast(story, data, tickets, seed)
    categories = sorted({t.category for part in (cast.pilot, cast.arriving) for t in part})
    props = prepare(found, categories, seed=seed)
    if not props.owner_tokens or props.lead_token is None:
        raise Conflict(
            f"The demo needs {_LEAD} and one of {', '.join(_OWNERS)}, and they are deactivated. "
            f"Let them in again: `secondlook people change {_LEAD} --active`."
        )
    scene = story.Scene(
        url=address,
        tool=TOOL,
        key=props.key,
        rep=_REP,
        owner_tokens=props.owner_tokens,
        lead_token=props.lead_token,
        run=props.run,
        settled=lambda: quiet(found),
        progress=_progress,
    )
    try:
        return story.play(scene, cast, seed=seed, speed=speed)
    except TimeoutError as error:
        raise Unavailable(f"The demo could not go on: {error}.") from None


def _require_example() -> Any:
    """The example, or an error that says what it needs."""
    try:
        from examples.ticket_categoriser import demo as story
    except ImportError as error:
        raise Unavailable(f"The demo needs `secondlook-server[demo]`: {error}.") from None
    return story


def _cast(story: Any, data: Path | None, tickets: int | None, seed: int) -> Any:
    from examples.ticket_categoriser.tickets import BadFile, generate, read

    try:
        if data is not None:
            return story.cast(read(data), pilot=1000, arriving=tickets or 5000, seed=seed)
        count = tickets or 600
        return story.cast(
            generate(300 + 2 * count, seed=seed), pilot=300, arriving=count, seed=seed
        )
    except (BadFile, ValueError) as error:
        problem = Problem("/data", str(error), "Correct the file or the options.")
        raise InvalidInput(str(error), problems=(problem,)) from None


@contextmanager
def _progress(title: str, length: int) -> Iterator[Any]:
    with typer.progressbar(length=length, label=f"{title:28}", file=sys.stderr) as bar:
        yield bar


# --- the server ---------------------------------------------------------------------------


@contextmanager
def _server(settings: Settings) -> Iterator[str]:
    """The server beside us, or one of our own that ends with us."""
    running = listening.running(settings)
    if running is not None:
        await_ready(running)
        yield running
        return
    # The routing policy may name the demo's people, and is checked before anything starts.
    command = [sys.executable, "-m", "services.cli", "run", "--port", "0", "--demo-people"]
    # Nobody scrapes a demo, and the usual ports may be in use.
    environment = os.environ | {"SECONDLOOK_METRICS_PORT": "0"}
    own = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    try:
        yield _announced(own)
    finally:
        own.terminate()
        own.wait(15)


def _announced(own: "subprocess.Popen[str]") -> str:
    assert own.stdout is not None
    for line in own.stdout:
        if line.startswith("ready "):
            return line.split()[1]
    raise Unavailable("The server ended before it was ready; its own words are above.")


def await_ready(address: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx2.get(f"{address}/readyz", timeout=2).is_success:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)
    raise Unavailable(f"The server at {address} did not become ready in {_START_SECONDS} seconds.")


# --- tool and people ----------------------------------------------------------------------


def prepare(found: Resources, categories: list[str], *, seed: int) -> Props:
    """Make the demo's team, people and tool where they are missing, and fresh secrets.

    Whoever was deactivated stays so, and gets none.
    """
    with found.database.transaction() as session:
        now = found.clock.now(session)
        _require_ours(session)
        _furnish(session, categories, seed, now)
        _make_room_for_a_key(session, now)
        key = tool_keys.create_key(session, TOOL, actor=ACTOR, now=now)
        owner_tokens = _tokens(session, _OWNERS, now)
        lead_token = next(iter(_tokens(session, (_LEAD,), now)), None)
        runs = tool_queries.version_count(session, TOOL)
    return Props(key, owner_tokens, lead_token, str(runs + 1))


def owner_tokens(found: Resources) -> list[str]:
    """Fresh tokens of the owners who are active: a new password ends those of before."""
    with found.database.transaction() as session:
        return _tokens(session, _OWNERS, found.clock.now(session))


def _tokens(session: Session, emails: Iterable[str], now: datetime) -> list[str]:
    return [
        access.create_token(session, email, actor=ACTOR, now=now)
        for email in emails
        if people_queries.person(session, email).active
    ]


def _make_room_for_a_key(session: Session, now: datetime) -> None:
    """Revoke the demo's older key where two are live: the newer one's demo may be running."""
    live = [key for key in tool_queries.keys(session, TOOL) if key.revoked_at is None]
    ours = sorted((key for key in live if key.actor == ACTOR.id), key=lambda key: key.created_at)
    if len(live) > 1 and ours:
        tool_keys.revoke_key(session, ours[0].prefix, actor=ACTOR, now=now)


def _require_ours(session: Session) -> None:
    """Leave somebody else's tool of this name alone."""
    maker = tool_queries.tool_maker(session, TOOL)
    if maker not in (None, ACTOR.id):
        raise Conflict(
            f"The demo's tool is called '{TOOL}', and {maker} has made one of that name. "
            "Run the demo on a data folder of its own (SECONDLOOK_DATA_DIR)."
        )


def make_people(found: Resources) -> None:
    """Make the demo's team and people where they are missing."""
    with found.database.transaction() as session:
        _require_ours(session)
        _make_people(session, found.clock.now(session))


def _make_people(session: Session, now: datetime) -> None:
    if TEAM not in {team.slug for team in people_queries.teams(session)}:
        people_service.add_team(session, TEAM, name="Ticket triage", actor=ACTOR, now=now)
    known = {person.email for person in people_queries.people(session)}
    for email, (name, role) in _PEOPLE.items():
        if email not in known:
            people_service.add_person(
                session, email, name=name, role=role, teams=[TEAM], actor=ACTOR, now=now
            )


def _furnish(session: Session, categories: list[str], seed: int, now: datetime) -> None:
    _make_people(session, now)
    try:
        tool_service.add_tool(
            session,
            TOOL,
            name="Ticket categoriser",
            kind=OutputKind.CATEGORY,
            team=TEAM,
            categories=categories,
            threshold=_THRESHOLD,
            audit_rate=_AUDIT_RATE,
            maturity_seconds=0,
            sampling_key=sha256(f"demo {seed}".encode()).hexdigest(),
            actor=ACTOR,
            now=now,
        )
    except Conflict:
        _add_categories(session, categories, now)


def _add_categories(session: Session, categories: list[str], now: datetime) -> None:
    known = list(tool_queries.tool(session, TOOL).categories)
    new = [name for name in categories if name not in known]
    if new:
        changes = {"categories": known + new}
        tool_service.change_tool(session, TOOL, changes, actor=ACTOR, now=now)


def links(found: Resources, address: str) -> list[tuple[str, str, str]]:
    """A one-time sign-in link for each of the demo's active people: name, role, link."""
    with found.database.transaction() as session:
        now = found.clock.now(session)
        length = timedelta(seconds=found.settings.link_length)
        made = []
        active = {person.email for person in people_queries.people(session) if person.active}
        for email, (name, role) in _PEOPLE.items():
            if email in active:
                token = access.create_link(session, email, actor=ACTOR, now=now, length=length)
                made.append((name, role.value, f"{address}/sign-in/{token}"))
    return made


def quiet(found: Resources) -> bool:
    """Whether everything that was sent has been taken, and nothing waits to be sent."""
    with found.database.transaction() as session:
        if outbox.waiting(session):
            return False
        positions = offsets.positions(session)
    ends = found.log.bounds(sorted(app_roles.readers()))
    reached = {(at.consumer, at.topic, at.partition): at.next_offset for at in positions}
    return all(
        reached.get((consumer, partition.topic, partition.number), held.first) >= held.next
        for partition, held in ends.items()
        for consumer in app_roles.readers()[partition.topic]
    )
