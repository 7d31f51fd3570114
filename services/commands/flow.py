"""`run --demo`: tickets keep arriving, some cases are reviewed, and enough are left to try."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping

import httpx2
from secondlook import Secondlook

from examples.ticket_categoriser.demo import record
from examples.ticket_categoriser.model import train
from examples.ticket_categoriser.people import Owners, Rep, chance
from examples.ticket_categoriser.tickets import categories, generate
from services.app.resources import Resources
from services.commands import demo_life
from services.commands.demo import TOOL, await_ready, links, owner_tokens, prepare
from services.commands.shared import resources, say

_PILOT, _AT_ONCE = 300, 160
_SECONDS_BETWEEN = 2.0
_LEFT_OPEN = 40
_DISPUTED = 3


def flow(address: str, *, seed: int = 1) -> None:
    """Print the sign-in links, then let tickets arrive until the process is ended."""
    await_ready(address)
    with resources("demo") as found:
        _flow(found, address, seed)


def _flow(found: Resources, address: str, seed: int) -> None:
    pilot = generate(_PILOT, seed=seed)
    props = prepare(found, categories(pilot), seed=seed)
    demo_life.furnish(found)
    for name, role, link in links(found, address):
        say(f"sign in as {name} ({role}): {link}")
    model = train(
        f"pilot-{props.run}", [t.text for t in pilot], [t.category for t in pilot], seed=seed
    )
    right: dict[str, str] = {}
    doubtful: deque[str] = deque(maxlen=_DISPUTED)
    with Secondlook(address, props.key) as look:
        look.wait_for_policy(30)
        rep = Rep(look, "rep@demo.example", seed)
        reviewers = Reviewers(found, address, props.owner_tokens, seed=seed)
        demo_life.fail_for_a_while(look, model.name)
        for number in itertools.count():
            (ticket,) = generate(1, seed=seed + 1_000_003 * (number + 1))
            name = f"{model.name}-{number}"
            right[name] = ticket.category
            guess = model.guess([ticket.text])[0]
            decision = record(look, name, ticket, guess, model=model.name, number=number)
            if decision.proceed:
                wrong = guess.category != ticket.category
                if wrong or len(doubtful) < _DISPUTED:
                    doubtful.append(name)
                rep.read(name, said=guess.category, right=ticket.category)
            if number == _AT_ONCE:
                demo_life.dispute(look, rep.email, doubtful)
            if number == _AT_ONCE + _DISPUTED:
                reviewers.answer_disputes(right)
                demo_life.hand_over(address, props.lead_token)
            if number >= _AT_ONCE:
                time.sleep(_SECONDS_BETWEEN)
                if chance(seed, "work", name) < 0.5:
                    reviewers.review_some(right)


class Reviewers:
    """The demo's owners, who review a little and leave enough to try.

    Visitors sign in as the same people: they may choose a password, which revokes the
    tokens, and be deactivated or become reps. The others go on, and tickets arrive.
    """

    def __init__(self, found: Resources, address: str, tokens: list[str], *, seed: int) -> None:
        self._found, self._address, self._seed = found, address, seed
        self._owners: Owners | None = None
        self._take(tokens)

    def review_some(self, right: Mapping[str, str]) -> None:
        """Review two cases where many wait."""
        self._try(
            lambda owners: (
                len(owners.open_cases()) > _LEFT_OPEN and owners.work(right, lambda: None, most=2)
            )
        )

    def answer_disputes(self, right: Mapping[str, str]) -> None:
        """Review what the rep disputed, so that they hear what became of it."""
        self._try(lambda owners: owners.work(right, lambda: None, most=3, trigger="dispute"))

    def _try(self, work: Callable[[Owners], object]) -> None:
        """What is refused now is tried again next time."""
        try:
            if self._owners is not None:
                work(self._owners)
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == httpx2.codes.UNAUTHORIZED:
                self._take(owner_tokens(self._found))

    def _take(self, tokens: list[str]) -> None:
        if self._owners is not None:
            self._owners.close()
        self._owners = Owners(self._address, tokens, TOOL, seed=self._seed) if tokens else None
