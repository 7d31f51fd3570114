"""`run --demo`: tickets keep arriving, some cases are judged, and enough are left to try."""

import itertools
import time

from secondlook import Secondlook

from examples.ticket_categoriser.demo import record
from examples.ticket_categoriser.model import train
from examples.ticket_categoriser.people import Owners, Rep, chance
from examples.ticket_categoriser.tickets import categories, generate
from services.bootstrap import Resources
from services.commands.demo import TOOL, await_ready, links, prepare
from services.commands.shared import resources, say

_PILOT, _AT_ONCE = 300, 160
_SECONDS_BETWEEN = 2.0
_LEFT_OPEN = 40


def flow(address: str, *, seed: int = 1) -> None:
    """Print the sign-in links, then let tickets arrive until the process is ended."""
    await_ready(address)
    with resources("demo") as found:
        _flow(found, address, seed)


def _flow(found: Resources, address: str, seed: int) -> None:
    pilot = generate(_PILOT, seed=seed)
    props = prepare(found, categories(pilot), seed=seed)
    for name, role, link in links(found, address):
        say(f"sign in as {name} ({role}): {link}")
    model = train(
        f"pilot-{props.run}", [t.text for t in pilot], [t.category for t in pilot], seed=seed
    )
    right: dict[str, str] = {}
    with Secondlook(address, props.key) as look:
        look.wait_for_policy(30)
        rep = Rep(look, "rep@demo.example", seed)
        owners = Owners(address, props.owner_tokens, TOOL, seed=seed)
        for number in itertools.count():
            (ticket,) = generate(1, seed=seed + 1_000_003 * (number + 1))
            name = f"{model.name}-{number}"
            right[name] = ticket.category
            guess = model.guess([ticket.text])[0]
            decision = record(look, name, ticket, guess, model=model.name, number=number)
            if decision.proceed:
                rep.read(name, said=guess.category, right=ticket.category)
            if number >= _AT_ONCE:
                time.sleep(_SECONDS_BETWEEN)
                if props.owner_tokens and chance(seed, "work", name) < 0.5:
                    _judge_some(owners, right)


def _judge_some(owners: Owners, right: dict[str, str]) -> None:
    """Judge a little, and leave enough to try."""
    if len(owners.open_cases()) > _LEFT_OPEN:
        owners.work(right, lambda: None, most=2)
