"""Old outputs go, with all that was said of them, page by page."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.counts import hour_of
from services.tools.queries import ToolInfo

StillNeeded = Callable[[Session, str, Sequence[str]], Collection[str]]
"""Which of a tool's outputs somebody else still needs, by their ids."""


def keep_since(tool: ToolInfo, *, now: datetime, kept: timedelta) -> datetime:
    """What was recorded before goes: older than `kept`, and mature.

    Rates count the outputs of the hour in which maturity begins one by one.
    """
    return min(now - kept, hour_of(tool.cutoff(now)))


# Whoever stores something about an output locks its row: under the same lock, nothing can be
# said of it any more that this statement does not see.
_LOCK = text("""
SELECT output_id FROM output WHERE tool = :tool AND output_id = ANY(:ids)
ORDER BY output_id FOR UPDATE SKIP LOCKED
""")

_REMOVE = text("""
WITH gone AS (
    DELETE FROM output o
    WHERE o.tool = :tool AND o.output_id = ANY(:ids)
      AND coalesce(o.recorded_at, o.awaited_since) < :before
      AND (o.recorded_at IS NOT NULL OR o.unmatched_at IS NOT NULL)
      AND NOT EXISTS (SELECT FROM correction c WHERE c.tool = o.tool
                      AND c.output_id = o.output_id AND c.recorded_at >= :before)
      AND NOT EXISTS (SELECT FROM withdrawal w WHERE w.tool = o.tool
                      AND w.output_id = o.output_id AND w.recorded_at >= :before)
      AND NOT EXISTS (SELECT FROM verdict v WHERE v.tool = o.tool
                      AND v.output_id = o.output_id AND v.recorded_at >= :before)
      AND NOT EXISTS (SELECT FROM undone_verdict u WHERE u.tool = o.tool
                      AND u.output_id = o.output_id AND u.recorded_at >= :before)
    RETURNING o.output_id
), words AS (
    DELETE FROM correction c USING gone WHERE c.tool = :tool AND c.output_id = gone.output_id
), withdrawals AS (
    DELETE FROM withdrawal w USING gone WHERE w.tool = :tool AND w.output_id = gone.output_id
), verdicts AS (
    DELETE FROM verdict v USING gone WHERE v.tool = :tool AND v.output_id = gone.output_id
), undone AS (
    DELETE FROM undone_verdict u USING gone
    WHERE u.tool = :tool AND u.output_id = gone.output_id
)
SELECT count(*) FROM gone
""")


def remove(session: Session, tool: str, ids: Sequence[str], *, before: datetime) -> int:
    """Remove those of these outputs of which everything came before `before`; answers how many.

    Their corrections, withdrawals and verdicts go with them. An output with something newer
    stays: somebody is at work on it. So does one that a transaction is just writing to.
    """
    if not ids:
        return 0
    given = {"tool": tool, "ids": list(ids)}
    locked = list(session.scalars(_LOCK, given))
    return int(session.execute(_REMOVE, given | {"ids": locked, "before": before}).scalar_one())


# --- the walk -----------------------------------------------------------------------------


class Place(NamedTuple):
    """How far a walk has come."""

    at: datetime
    output_id: str


_START = Place(datetime.min.replace(tzinfo=UTC), "")


def _page(age: str, which: str) -> str:
    return f"""
SELECT {age} AS at, output_id FROM output
WHERE tool = :tool AND {which} AND {age} < :before AND ({age}, output_id) > (:at, :output_id)
ORDER BY {age}, output_id LIMIT :limit
"""


# Those that came, and those that corrections were waiting for in vain.
_PAGES = (
    text(_page("recorded_at", "recorded_at IS NOT NULL")),
    text(_page("awaited_since", "recorded_at IS NULL AND unmatched_at IS NOT NULL")),
)


class OutputPurge:
    """Walks over the old outputs of every tool, and removes those that nobody needs.

    It remembers where it has been, so that what has to stay is not looked at again each time;
    `begin_again` starts from the oldest.
    """

    def __init__(self, needed: StillNeeded) -> None:
        self._needed = needed
        self._places: dict[tuple[str, int], Place] = {}

    def begin_again(self) -> None:
        """Look at everything once more."""
        self._places.clear()

    def step(self, session: Session, since: Mapping[str, datetime], *, limit: int) -> bool:
        """Look at up to `limit` outputs of the tools in `since`, recorded before the time there.

        Returns:
            Whether there are more.
        """
        left = limit
        for tool, before in since.items():
            for number in range(len(_PAGES)):
                left -= self._walk(session, tool, number, before=before, limit=left)
                if left <= 0:
                    return True
        return False

    def _walk(
        self, session: Session, tool: str, number: int, *, before: datetime, limit: int
    ) -> int:
        """One page of one tool; answers how many outputs were on it."""
        place = self._places.get((tool, number), _START)
        given = {"tool": tool, "before": before, "limit": limit, **place._asdict()}
        found = [Place(*row) for row in session.execute(_PAGES[number], given)]
        if found:
            ids = [one.output_id for one in found]
            kept = self._needed(session, tool, ids)
            remove(session, tool, [id_ for id_ in ids if id_ not in kept], before=before)
            self._places[tool, number] = found[-1]
        return len(found)
