"""Somebody who claims a case and reviews it, and can be frozen at any step in between.

`python -m tests.races.writer DATABASE_URL CASE E-MAIL LEASE_SECONDS`: prints what it has done
and waits for a line before each next step: the claim, reading the clock, writing, committing.
"""

import sys
from datetime import timedelta

from sqlalchemy.exc import DBAPIError

from services.escalation import service
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.errors import SecondlookError
from services.tools.rules import VerdictKind
from tests.factories import actor_of
from tests.factories.cases import give_verdict


def pause(done: str) -> None:
    """Say what was done; go on when told to."""
    print(done, flush=True)
    sys.stdin.readline()


def review(database: Database, who: str, case: int, token: str) -> None:
    """The verdict, with a stop after every step."""
    with database.transaction() as session:
        actor = actor_of(session, who)
        now = DatabaseClock().now(session)
        pause("clock read")
        give_verdict(
            session,
            actor,
            case,
            token=token,
            lease=timedelta(),
            verdict=VerdictKind.UPHELD,
            now=now,
        )
        pause("written")


def main() -> None:
    """Claim, and review."""
    url, case, who, lease = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    database = Database(make_engine(url))
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        actor = actor_of(session, who)
        taken = service.claim(session, actor, case, lease=timedelta(seconds=lease), now=now)
    pause("claimed")
    try:
        review(database, who, case, taken.token)
    except SecondlookError as error:
        print(f"refused {type(error).__name__} {error.extra.get('holder')}", flush=True)
    except DBAPIError as error:
        print(f"failed {type(error).__name__}", flush=True)
    else:
        print("reviewed", flush=True)
    database.close()


if __name__ == "__main__":
    main()
