"""Opening cases, set-based: a batch of requests in, cases with owners and timers out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from services.escalation import incidents
from services.escalation.answering import Chain
from services.escalation.inserting import (
    Request,
    insert,
    opened_by,
    owned_otherwise,
    subject_key,
)
from services.escalation.policy.tallies import MONITORED, ROUTED
from services.escalation.routing import Choice, Routed, Router
from services.escalation.rules import SubjectKind
from services.escalation.timeline import Entry, Happening, tell
from services.kit import counts
from services.kit.counts import Count, Counts, hour_of
from services.tools.rules import Version
from services.tools.versions import ToolVersion, VersionCache


def first_of_each(requests: Iterable[Request]) -> list[Request]:
    """The first request of each subject: what opens its case, where it has none."""
    first: dict[str, Request] = {}
    for one in requests:
        first.setdefault(subject_key(one), one)
    return list(first.values())


def open_cases(
    session: Session,
    router: Router,
    choices: Sequence[Choice],
    *,
    versions: VersionCache,
    alike: Sequence[int],
    beside: Sequence[Chain],
    now: datetime,
    shard: int,
) -> set[int]:
    """Open a case for each of these subjects that has none; answers the requests that did, by
    their identity.

    The case, its timers, its first timeline entry, its event and its counts are one
    transaction, and the owner is there from the first moment. Those of a cause that there is an
    incident of, or enough for one, are part of it from the first moment, too.

    Args:
        session: the transaction.
        router: says what each case gets.
        choices: what the policy says of the first request of each subject.
        versions: the numbers of tools' versions.
        alike: open cases of the same causes, locked.
        beside: those whom the transaction will ask about for cases that are there.
        now: the time.
        shard: of the counts.
    """
    if not choices:
        return set()
    routed = router.route(session, choices, beside=beside, now=now)
    by_key = {subject_key(one.request): one for one in routed}
    ids = insert(session, by_key, SubjectKind.OUTPUT, now=now)
    opened = {ids[key]: one for key, one in by_key.items() if key in ids}
    grouped = incidents.group(session, opened, alike, now=now)
    tell(session, [*_opened(opened), *grouped], now=now)
    _count(session, list(opened.values()), versions, now=now, shard=shard)
    return {id(one.request) for one in opened.values()}


def _opened(cases: dict[int, Routed]) -> list[Entry]:
    return [entry for case_id, one in cases.items() for entry in _entries(case_id, one)]


def _entries(case_id: int, one: Routed) -> list[Entry]:
    said = one.request.objection
    note = said.correction.note if said else None
    found = [Entry(case_id, Happening.OPENED, note=note, detail=opened_by(one))]
    return [*found, *owned_otherwise(case_id, one)]


def _count(
    session: Session,
    opened: Sequence[Routed],
    versions: VersionCache,
    *,
    now: datetime,
    shard: int,
) -> None:
    of_case = {id(one): _version(one.request) for one in opened}
    numbers = versions.ids(session, of_case.values())
    tally: Counts = Counter(
        Count(
            "cases",
            one.request.tool,
            hour_of(now),
            numbers[of_case[id(one)]],
            one.request.trigger,
        )
        for one in opened
    )
    tally.update(of_rule for one in opened for of_rule in _rules(one, hour_of(now)))
    counts.add(session, tally, shard=shard)


def _rules(one: Routed, hour: datetime) -> Iterator[Count]:
    """The rule that took a case, and those of the revision that would have."""
    yield Count(ROUTED, one.request.tool, hour, 0, one.route.rule)
    for tried in one.monitored:
        label = f"{one.revision}/{tried['rule']}"
        yield Count(MONITORED, one.request.tool, hour, 0, label)


def _version(request: Request) -> ToolVersion:
    said = request.output.version if request.output else None
    return ToolVersion(request.tool, Version(said.model, said.prompt) if said else Version())
