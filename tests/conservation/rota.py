"""Who is on duty and who is away changes all the time during a campaign."""

import random
import threading
from contextlib import suppress
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from services.escalation.leaving import CaseDuty
from services.escalation.policy.revisions import PolicyInForce
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.errors import SecondlookError
from services.people import absences, schedules
from tests.factories import LEAD, OWNER, TEAMMATE
from tests.factories.people import OPERATOR

SCHEDULE = "duty"
_LONGEST = 6.0


class Rota(threading.Thread):
    """Gives the duty to somebody else, and sends somebody away, for seconds at a time."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self._url, self._draw = url, random.Random(seed)
        self.stopping = threading.Event()
        self.changes = 0

    def run(self) -> None:
        """Go on until `stopping` is set, and then until everybody is where they belong."""
        database = Database(make_engine(self._url, pool_size=1))
        while not self.stopping.wait(self._draw.uniform(0.3, 1.5)):
            # While the database is away there is nothing to change; a refusal is one.
            with suppress(SQLAlchemyError, SecondlookError), database.transaction() as session:
                self._change(session)
                self.changes += 1
        database.close()
        threading.Event().wait(_LONGEST)

    def _change(self, session: Session) -> None:
        now = DatabaseClock().now(session)
        end = now + timedelta(seconds=self._draw.uniform(1, _LONGEST))
        by = {"actor": OPERATOR, "duties": (CaseDuty(PolicyInForce()),), "now": now}
        what = self._draw.random()
        if what < 0.5:
            who = self._draw.choice((OWNER, TEAMMATE, LEAD))
            schedules.override(session, SCHEDULE, who, begin=now, end=end, **by)
        elif what < 0.8:
            instead = self._draw.choice((None, LEAD))
            absences.go_away(session, TEAMMATE, begin=now, end=end, stand_in=instead, **by)
        else:
            absences.come_back(session, TEAMMATE, **by)
