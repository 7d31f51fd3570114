"""What is sent and done during a campaign: tools that resend, poison, and people who review.

Everything is drawn from one seed. Senders resend until they are answered, as the SDK does,
and keep in the ledger what was acknowledged and what nobody knows of.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2
from pydantic_core import to_json
from secondlook import events
from secondlook.testing import POISON, Poison

from services.kit.eventlog.port import EventLog, LogUnavailable, NewRecord
from tests.conservation.ledger import Ledger, Sent
from tests.factories import CATEGORIES, NOON, REP, TOOL

DUPLICATES, REORDERED, POISONED = 0.05, 0.05, 0.01
LEAST_POISON = 60
FATES = {"invalid": "refused", "unknown_type": "parked", "valid-but-tricky": "any"}
_WORDS = {"correction": 70, "confirmation": 15, "dispute": 12, "appeal": 3}
_SIZES = (1, 1, 1, 1, 5, 20, 100)
_BATCH = "application/cloudevents-batch+json"
_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to send: an event of the tool, or poison under a key of its own."""

    event: Any = None
    poison: Poison | None = None
    key: str = ""

    @property
    def name(self) -> str:
        """What the ledger and the checker know an event by."""
        data = self.event.data
        found: str = data.output_id if self.event.topic == events.OUTPUTS else data.note
        return found


def plan(size: int, seed: int) -> list[Step]:
    """So many events in the order in which they are sent."""
    draw = random.Random(seed)
    poisoned = max(LEAST_POISON, round(size * POISONED))
    twice = round(size * DUPLICATES)
    placed = list(_originals(size - poisoned - twice, draw))
    for place, step in draw.sample(placed, twice):
        placed.append((place + draw.uniform(0, size / 10), step))
    for number in range(poisoned):
        poison = POISON[number % len(POISON)] if poisoned >= len(POISON) else draw.choice(POISON)
        placed.append((draw.uniform(0, size), Step(poison=poison, key=f"{TOOL}/poison-{number}")))
    return [step for _, step in sorted(placed, key=lambda found: found[0])]


def _originals(size: int, draw: random.Random) -> Iterator[tuple[float, Step]]:
    """Outputs, and words on a fifth of them, of which a quarter come before their output."""
    outputs = round(size * 0.8)
    for number in range(outputs):
        place = number / outputs * size
        yield place, Step(_output(f"o-{number}", draw))
    early = REORDERED * size / max(1, size - outputs)
    for number in range(size - outputs):
        about = draw.randrange(outputs)
        distance = draw.uniform(1, size / 10)
        place = about / outputs * size + (-distance if draw.random() < early else distance)
        yield place, Step(_word(number, f"o-{about}", draw))


def _output(output_id: str, draw: random.Random) -> Any:
    if draw.random() < 0.01:
        error = events.ToolError(kind="timeout", message="took too long")
        return events.output_failed(
            TOOL, events.OutputFailure(output_id=output_id, error=error), time=NOON
        )
    confidence = draw.choice([None, 0.3]) if draw.random() < 0.04 else draw.uniform(0.7, 1.0)
    data = events.Output(
        output_id=output_id,
        kind="category",
        value=draw.choice(CATEGORIES),
        confidence=confidence,
        subject=f"ticket-{output_id}",
        input=events.Input(text="where is my money " * 8),
    )
    return events.output_recorded(TOOL, data, time=NOON)


def _word(number: int, output_id: str, draw: random.Random) -> Any:
    (kind,) = draw.choices(list(_WORDS), list(_WORDS.values()))
    data = events.Correction(
        output_id=output_id,
        kind=kind,  # type: ignore[arg-type]
        value=draw.choice(CATEGORIES) if kind == "correction" else None,
        note=f"w-{number}",
        actor=events.Actor(id=REP),
        occurred_at=NOON + timedelta(milliseconds=number),
    )
    return events.correction_recorded(TOOL, data, time=NOON)


# --- senders --------------------------------------------------------------------------------


@dataclass
class Traffic:
    """Several senders at work on one plan, no faster than they are allowed."""

    address: str
    key: str
    log: EventLog
    steps: Sequence[Step]
    seed: int
    ledger: Ledger = field(default_factory=Ledger)
    allowed: Callable[[], float] = lambda: 1.0
    problems: list[str] = field(default_factory=list)
    answered_at: float = 0.0
    resent: int = 0
    refused: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._draw = random.Random(self.seed + 1)
        self._threads: list[threading.Thread] = []

    def start(self, senders: int = 4) -> None:
        """Begin to send."""
        self._threads = [threading.Thread(target=self._work) for _ in range(senders)]
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> bool:
        """Whether everything was sent and answered."""
        return not any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        """Wait until everything was sent."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            with httpx2.Client(base_url=self.address, timeout=_TIMEOUT) as client:
                while chunk := self._take():
                    self._send(client, chunk)
        except Exception as error:
            self.problems.append(f"a sender died: {error!r}")
            raise

    def _take(self) -> Sequence[Step]:
        """The next few steps, once they are allowed."""
        while not self.stopping.is_set():
            with self._lock:
                if self._next >= len(self.steps):
                    return []
                most = self.allowed() * len(self.steps)
                if self._next < most:
                    start = self._next
                    self._next += min(self._draw.choice(_SIZES), len(self.steps) - start)
                    return self.steps[start : self._next]
            self.stopping.wait(0.02)
        return []

    def _send(self, client: httpx2.Client, chunk: Sequence[Step]) -> None:
        for step in chunk:
            if step.poison is not None:
                self._poison(client, step)
        for path, steps in _by_path([step for step in chunk if step.poison is None]).items():
            entries = [self._entry(step) for step in steps]
            body, media = _body(path, steps)
            self._insist(client, path, body, media, entries)

    def _entry(self, step: Step) -> Sent:
        with self._lock:
            return self.ledger.entry(step.event.topic, step.name)

    def _insist(
        self, client: httpx2.Client, path: str, body: bytes, media: str, entries: Sequence[Sent]
    ) -> None:
        """Send until it is acknowledged; every try whose end is unknown may have counted."""
        while not self.stopping.is_set():
            status, said = self._post(client, path, body, media)
            if status == 202:
                self._count(entries, times=1)
                self.answered_at = time.monotonic()
                return
            if status is None or status >= 500:
                self._count(entries, unanswered=1)
            elif status != 429:
                self.problems.append(f"{path} answered {status}: {said[:300]}")
                return
            self.resent += 1
            self.stopping.wait(0.2)

    def _count(self, entries: Sequence[Sent], *, times: int = 0, unanswered: int = 0) -> None:
        with self._lock:
            for entry in entries:
                entry.times += times
                entry.unanswered += unanswered

    def _post(
        self, client: httpx2.Client, path: str, body: bytes, media: str
    ) -> tuple[int | None, str]:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": media}
        try:
            answer = client.post(path, content=body, headers=headers)
        except httpx2.HTTPError as error:
            return None, repr(error)
        return answer.status_code, answer.text

    def _poison(self, client: httpx2.Client, step: Step) -> None:
        """What the door refuses goes onto the log by another way, as another producer's would."""
        assert step.poison is not None
        if not step.poison.headers:
            self._knock(client, step.poison)
        with self._lock:
            fate = FATES[step.poison.expected]
            entry = self.ledger.entry(events.OUTPUTS, step.key, fate)
        record = NewRecord(
            events.OUTPUTS, step.key.encode(), step.poison.raw, tuple(step.poison.headers)
        )
        while not self.stopping.is_set():
            try:
                self.log.append([record])
            except LogUnavailable:
                self._count([entry], unanswered=1)
                self.stopping.wait(0.2)
            else:
                self._count([entry], times=1)
                return

    def _knock(self, client: httpx2.Client, poison: Poison) -> None:
        """Another tool's or malformed events are refused at the door, whatever goes on."""
        status: int | None = None
        while (status is None or status >= 500) and not self.stopping.is_set():
            media = "application/cloudevents+json"
            status, said = self._post(client, "/v1/events", poison.raw, media)
            if status is None or status >= 500:
                self.stopping.wait(0.2)
        if status is not None and not 400 <= status < 500:
            self.problems.append(f"'{poison.name}' was answered {status}: {said[:200]}")
        self.refused += 1


def _by_path(steps: Sequence[Step]) -> dict[str, list[Step]]:
    """A third of the words and of the outputs take the plain doors, always the same ones."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        plain = int(step.name[2:]) % 3 == 0 and not isinstance(step.event, events.OutputFailed)
        path = f"/v1/{step.event.topic.partition('.')[2]}" if plain else "/v1/events"
        found.setdefault(path, []).append(step)
    return found


def _body(path: str, steps: Sequence[Step]) -> tuple[bytes, str]:
    if path == "/v1/events":
        bodies = [events.encode(step.event) for step in steps]
        if len(bodies) == 1:
            return bodies[0], "application/cloudevents+json"
        return b"[" + b",".join(bodies) + b"]", _BATCH
    data = [step.event.data.model_dump(mode="json", exclude_none=True) for step in steps]
    return to_json(data[0] if len(data) == 1 else data), "application/json"
