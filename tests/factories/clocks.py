"""Clocks that a test moves: together, as time passes, or one alone, as a wrong clock does."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from services.kit.clock import DatabaseClock
from services.kit.clock_guard import MachineClock


@dataclass
class Clocks:
    """The database's clock (`now`), and the machine's steady one beside it."""

    passed: timedelta = timedelta()
    moved: timedelta = timedelta()
    """How far the database's clock alone is off."""
    steady: "Steady" = field(init=False)

    def __post_init__(self) -> None:
        self.steady = Steady(self)

    def now(self, session: Session) -> datetime:
        """The moment that it is by the database's clock."""
        return DatabaseClock().now(session) + self.passed + self.moved


class Steady(MachineClock):
    """The machine's clock, where as much time has passed."""

    def __init__(self, clocks: Clocks) -> None:
        super().__init__()
        self._clocks = clocks

    def now(self) -> float:
        """Seconds since the machine was started."""
        return super().now() + self._clocks.passed.total_seconds()
