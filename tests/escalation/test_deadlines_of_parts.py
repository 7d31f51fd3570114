"""When a case is due that is part of another one, and when the one that answers for it."""

from datetime import UTC, datetime, timedelta

import pytest

from services.escalation import service
from services.kit.database import Database
from tests.escalation.test_merging import HOUR, LIMITS, MINUTE, row
from tests.factories import LEAD, OWNER, Casework, actor_of


@pytest.mark.parametrize("before", ["claimed", "snoozed"])
def test_a_case_that_was_held_or_put_off_is_due_by_its_own_clocks_once_merged(
    before: str, cases: list[int], casework: Casework, database: Database
) -> None:
    whole, part, _ = cases
    claimed_by = row(database, part).claim_due_at
    if before == "claimed":
        casework.claim(OWNER, part)
    else:
        pause = {"until": datetime.now(UTC) + 24 * HOUR, "reason": "later", "limit": LIMITS.pause}
        casework.do("snooze", OWNER, part, **pause)
    casework.do("merge", LEAD, part, into=whole)
    shown = row(database, part).due_at
    assert shown - claimed_by < MINUTE
    assert row(database, whole).due_at <= shown
    casework.do("unmerge", LEAD, part)
    assert row(database, part).due_at == shown


@pytest.mark.parametrize("pause", ["claim", "snooze"])
def test_parts_wait_with_the_whole_and_have_what_was_left(
    pause: str, cases: list[int], casework: Casework, database: Database
) -> None:
    """Whoever holds it, or puts it off, does so with all of its parts."""
    whole, part, alone = cases
    casework.do("merge", LEAD, part, into=whole)
    before = row(database, whole).claim_due_at
    for case in (whole, alone):
        if pause == "claim":
            _hold_for(10 * MINUTE, casework, case)
        else:
            until = datetime.now(UTC) + 24 * HOUR
            casework.do("snooze", OWNER, case, until=until, reason="later", limit=LIMITS.pause)
    found = [row(database, case).claim_due_at for case in (whole, alone)]
    assert abs(found[0] - found[1]) < MINUTE
    assert found[0] - before > 9 * MINUTE


def _hold_for(span: timedelta, casework: Casework, case: int) -> None:
    token = casework.claim(OWNER, case)
    with casework.database.transaction() as session:
        now = casework.clock.now(session) + span
        service.release(session, actor_of(session, OWNER), case, token=token, now=now)


def test_what_joins_a_case_that_somebody_holds_has_its_own_time_from_then(
    cases: list[int], casework: Casework, database: Database
) -> None:
    whole, part, late = cases
    casework.do("merge", LEAD, part, into=whole)
    token = casework.claim(OWNER, whole)
    left = row(database, whole).claim_due_at - datetime.now(UTC)
    with database.transaction() as session:
        now = casework.clock.now(session) + 10 * MINUTE
        service.merge(session, actor_of(session, LEAD), late, into=whole, now=now)
        # It had as long as the others when it came, but for these ten minutes.
        service.release(session, actor_of(session, OWNER), whole, token=token, now=now)
    due = row(database, whole).claim_due_at
    assert abs(due - now - (left - 10 * MINUTE)) < MINUTE
