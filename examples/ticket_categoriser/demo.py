"""One story from end to end: a pilot goes live, people correct it, it is trained again."""

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2
from secondlook import Decision, Secondlook

from examples.ticket_categoriser.model import Guess, Model, train
from examples.ticket_categoriser.people import Owners, Rep
from examples.ticket_categoriser.tickets import Ticket

_CHUNK = 250
_PATIENCE_SECONDS = 300.0


class Bar(Protocol):
    """A progress bar."""

    def update(self, n_steps: int) -> None:
        """Go on by `n_steps`."""
        ...


Progress = Callable[[str, int], AbstractContextManager[Bar]]
"""Makes a progress bar from a title and a length."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the demo plays in: a server, a tool with its key, and people with their tokens."""

    url: str
    tool: str
    key: str
    rep: str
    owner_tokens: list[str]
    lead_token: str
    run: str
    settled: Callable[[], bool]
    progress: Progress


@dataclass(frozen=True, slots=True)
class Cast:
    """The tickets by the part they play: to train the pilot, to arrive, never to be learnt."""

    pilot: list[Ticket]
    arriving: list[Ticket]
    held_out: list[Ticket]


@dataclass(slots=True)
class Played:
    """One version's figures, and what they rest on."""

    version: str
    outputs: int
    coverage: float | None
    exception_rate: float | None
    override_rate: float | None
    true_error_rate: float | None
    people_minutes: float
    held_out_error_rate: float | None
    counts: dict[str, int] = field(default_factory=dict)

    def as_answer(self) -> dict[str, Any]:
        """As `secondlook demo --json` answers it."""
        return {name: getattr(self, name) for name in self.__slots__}


def cast(tickets: Sequence[Ticket], *, pilot: int, arriving: int, seed: int) -> Cast:
    """Shuffle the tickets and give each its part.

    Raises:
        ValueError: there are too few for the three parts.
    """
    shuffled = list(tickets)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - nothing secret
    if len(shuffled) < pilot + arriving + 1:
        raise ValueError(
            f"{len(shuffled)} tickets are too few: {pilot} train the pilot, {arriving} arrive "
            "and at least one must be held out; use a longer file or a smaller --tickets"
        )
    if len({ticket.category for ticket in shuffled[:pilot]}) < 2:
        raise ValueError(
            f"the first {pilot} shuffled tickets are all of one category, and a classifier learns "
            "from two at least; use a file with more categories"
        )
    return Cast(shuffled[:pilot], shuffled[pilot : pilot + arriving], shuffled[pilot + arriving :])


def play(scene: Scene, parts: Cast, *, seed: int, speed: float) -> list[Played]:
    """Play both versions; answers their figures, the pilot's first."""
    pilot = _trained(f"pilot-{scene.run}", parts.pilot, seed)
    with Secondlook(scene.url, scene.key) as look:
        if not look.wait_for_policy(30):
            raise TimeoutError("the tool's policy did not come within 30 seconds")
        first = _live(scene, look, pilot, parts.arriving, parts.held_out, seed=seed, speed=speed)
        learnt = [*parts.pilot, *_exported(scene, f"pilot-{scene.run}")]
        retrained = _trained(f"retrained-{scene.run}", learnt, seed)
        later = parts.held_out[: len(parts.arriving)]
        second = _live(scene, look, retrained, later, parts.held_out, seed=seed, speed=speed)
    return [first, second]


def _trained(name: str, tickets: Sequence[Ticket], seed: int) -> Model:
    return train(name, [t.text for t in tickets], [t.category for t in tickets], seed=seed)


def _live(
    scene: Scene,
    look: Secondlook,
    model: Model,
    tickets: Sequence[Ticket],
    held_out: Sequence[Ticket],
    *,
    seed: int,
    speed: float,
) -> Played:
    """Let the tickets arrive, the reps read, the owners review; then take the figures."""
    rep = Rep(look, scene.rep, seed)
    owners = Owners(scene.url, scene.owner_tokens, scene.tool, seed=seed)
    right = {f"{model.name}-{n}": ticket.category for n, ticket in enumerate(tickets)}
    with scene.progress(f"tickets, {model.name}", len(tickets)) as bar:
        straight = [
            wrong
            for start in range(0, len(tickets), _CHUNK)
            for wrong in _arrive(look, rep, model, tickets, start, speed, bar)
        ]
    _require(look.flush(_PATIENCE_SECONDS), "the tool's events were not taken in time")
    _review_all(scene, owners, right)
    owners.close()
    rates = _rates(scene, model.name)
    texts, labels = [t.text for t in held_out], [t.category for t in held_out]
    return Played(
        version=model.name,
        outputs=len(tickets),
        coverage=rates["coverage"]["value"],
        exception_rate=rates["exception_rate"]["value"],
        override_rate=rates["override_rate"]["value"],
        true_error_rate=sum(straight) / len(straight) if straight else None,
        people_minutes=round((rep.seconds + owners.seconds) / 60, 1),
        held_out_error_rate=model.error_rate(texts, labels),
        counts={
            "exceptions": rates["exception_rate"]["numerator"],
            "overridden": rates["override_rate"]["numerator"],
            "matured": rates["override_rate"]["denominator"],
            "straight_through": len(straight),
            "straight_through_wrong": sum(straight),
            "held_out": len(held_out),
        },
    )


def record(
    look: Secondlook, name: str, ticket: Ticket, guess: Guess, *, model: str, number: int
) -> Decision:
    """Tell Secondlook what the model made of a ticket, and learn what to do with it."""
    return look.output(
        name,
        kind="category",
        value=guess.category,
        confidence=guess.confidence,
        alternatives=guess.alternatives,
        input_text=ticket.text,
        model=model,
        subject=f"ticket-{number}",
    )


def _arrive(
    look: Secondlook,
    rep: Rep,
    model: Model,
    tickets: Sequence[Ticket],
    start: int,
    speed: float,
    bar: Bar,
) -> list[bool]:
    """A few tickets arrive; answers, for each that went straight through, whether wrongly."""
    straight = []
    chunk = tickets[start : start + _CHUNK]
    for n, (ticket, guess) in enumerate(
        zip(chunk, model.guess([t.text for t in chunk]), strict=True), start=start
    ):
        name = f"{model.name}-{n}"
        decision = record(look, name, ticket, guess, model=model.name, number=n)
        if decision.proceed:
            straight.append(guess.category != ticket.category)
            rep.read(name, said=guess.category, right=ticket.category)
        if speed:
            time.sleep(1 / speed)
        bar.update(1)
    _require(look.flush(_PATIENCE_SECONDS), "the tool's events were not taken in time")
    return straight


def _review_all(scene: Scene, owners: Owners, right: dict[str, str]) -> None:
    """Review until nothing is open and nothing is under way any more."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with scene.progress("cases", len(right)) as bar:
        while True:
            settled = scene.settled()
            if owners.work(right, lambda: bar.update(1)):
                deadline = time.monotonic() + _PATIENCE_SECONDS
            elif settled:
                break
            else:
                _require(time.monotonic() < deadline, "the services did not settle in time")
                time.sleep(0.2)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise TimeoutError(otherwise)


def _rates(scene: Scene, version: str) -> dict[str, Any]:
    answer = httpx2.get(
        f"{scene.url}/v1/rates",
        params={"tool": scene.tool, "model": version},
        headers={"Authorization": f"Bearer {scene.lead_token}"},
        timeout=30,
    )
    answer.raise_for_status()
    return dict(answer.json())


def _exported(scene: Scene, version: str) -> list[Ticket]:
    """What people decided about a version's outputs, as Secondlook exports it for training."""
    answer = httpx2.get(
        f"{scene.url}/v1/datasets/corrections",
        params={"tool": scene.tool},
        headers={"Authorization": f"Bearer {scene.lead_token}"},
        timeout=120,
    )
    answer.raise_for_status()
    *rows, end = (json.loads(line) for line in answer.iter_lines())
    if not end.get("end"):
        raise RuntimeError("The export was cut off.")
    return [
        Ticket(row["text"], row["decided_value"])
        for row in rows
        if row["model"] == version and row["text"] and row["decided_value"]
    ]


def report(tool: str, versions: Sequence[Played]) -> list[str]:
    """The figures for people, a line each, versions side by side."""
    rows: list[tuple[str, Callable[[Played], str]]] = [
        ("outputs", lambda v: f"{v.outputs:,}"),
        ("coverage", lambda v: _percent(v.coverage)),
        ("exception rate", lambda v: _percent(v.exception_rate)),
        ("override rate", lambda v: _percent(v.override_rate)),
        ("true error rate of what went straight through", lambda v: _percent(v.true_error_rate)),
        ("people's minutes", lambda v: f"{v.people_minutes:,.0f}"),
        ("error rate on rows never seen", lambda v: _percent(v.held_out_error_rate)),
    ]
    width = max(len(version.version) for version in versions) + 2
    head = f"{tool:48}" + "".join(f"{version.version:>{width}}" for version in versions)
    return [
        head,
        *(f"{name:48}" + "".join(f"{show(v):>{width}}" for v in versions) for name, show in rows),
    ]


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
