"""Who is told of what, when, and how often it is tried. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from urllib.parse import quote
from zoneinfo import ZoneInfo


class What(StrEnum):
    """What a person can be told of."""

    OPENED = "opened"
    REASSIGNED = "reassigned"
    REOPENED = "reopened"
    ESCALATED = "escalated"
    OVERDUE = "overdue"
    REMINDED = "reminded"
    REVIEWED = "reviewed"
    DIVIDED = "divided"
    MENTIONED = "mentioned"
    VERDICT = "verdict"
    VERDICT_UNDONE = "verdict_undone"
    TEST = "test"


class Channel(StrEnum):
    """By what way something leaves."""

    EMAIL = "email"
    SLACK = "slack"
    WEBHOOK = "webhook"
    PUSH = "push"


class DeliveryState(StrEnum):
    """Where a delivery stands. `unknown`: it was tried, and nobody knows whether it arrived."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"


OF_CASES = {
    "secondlook.case.rerouted.v1": What.REASSIGNED,
    # Open again by itself, or by a word of somebody else: its owner may know nothing of it.
    "secondlook.case.unmerged.v1": What.REOPENED,
    "secondlook.case.undone.v1": What.REOPENED,
    "secondlook.case.woken.v1": What.REMINDED,
    **{
        f"secondlook.case.{what.value}.v1": what
        for what in (
            What.OPENED,
            What.REASSIGNED,
            What.REOPENED,
            What.ESCALATED,
            What.OVERDUE,
            What.REMINDED,
            What.REVIEWED,
            What.DIVIDED,
            What.MENTIONED,
        )
    },
}
"""The events of a case that somebody is told of: its owner, the leads, whom a comment names,
or the team where another reviewer is asked.

Of a case routed anew its owner is told where it has another one."""

CHOOSABLE = tuple(what for what in What if what is not What.TEST)
"""Of what people choose whether they are mailed."""

IN_WORDS = {
    What.OPENED: "A case is opened for me",
    What.REASSIGNED: "A case is handed to me",
    What.REOPENED: "A case of mine is opened again",
    What.ESCALATED: "A case is escalated to me",
    What.OVERDUE: "A case of mine is overdue",
    What.REMINDED: "A case of mine is still waiting",
    What.REVIEWED: "A case of my team asks for another reviewer",
    What.DIVIDED: "The reviewers of a case differ, and I lead its team",
    What.MENTIONED: "A comment mentions me",
    What.VERDICT: "There is a verdict on what I disputed or corrected",
    What.VERDICT_UNDONE: "Such a verdict is taken back",
}
"""What each is called where people choose."""

NEWS = timedelta(days=1)
"""What is older, as after a long outage, goes into inboxes and is mailed to nobody."""
TEAM_DIGEST_MINUTES = 15
"""People of a team are told of its cases together, not one by one."""
URGENT_PAUSE = timedelta(minutes=2)
"""What is urgent waits for no digest. Of a flood of it the first goes at once, what follows within
this time goes together."""
_ALWAYS_URGENT = frozenset({What.ESCALATED, What.OVERDUE})
"""What has waited for too long already, whatever its priority is."""
_URGENT = ("P1", "P2")
_WAKES = "P1"
"""Quiet hours hold back all but this: it would be past its deadline long before their end."""
DAY_MINUTES = 24 * 60
DIGESTS = (0, 15, 60, DAY_MINUTES)
_MORNING = time(8)


@dataclass(frozen=True, slots=True)
class Choice:
    """How somebody wants to be told; as it stands here where they never chose."""

    not_mailed: frozenset[str] = field(default_factory=frozenset)
    pushed: bool = True
    digest_minutes: int = 0
    quiet_from: time | None = None
    quiet_until: time | None = None
    timezone: str = "UTC"


def mail_at(
    choice: Choice,
    what: What,
    *,
    happened: datetime,
    now: datetime,
    as_team: bool,
    priority: str | None = None,
    mailed: datetime | None = None,
) -> datetime | None:
    """When to mail it: `now` for at once; None for never.

    Args:
        priority: of the case that it is about.
        mailed: when the person was mailed last, as far as that is within `URGENT_PAUSE`.
    """
    if what in choice.not_mailed or now - happened > NEWS:
        return None
    if what is What.TEST:
        return now
    minutes = max(choice.digest_minutes, TEAM_DIGEST_MINUTES if as_team else 0)
    zone = ZoneInfo(choice.timezone)
    if minutes and is_urgent(what, priority):
        at = now if mailed is None else max(now, mailed + URGENT_PAUSE)
    else:
        at = _round_up(now, minutes, zone)
    return at if priority == _WAKES else _after_quiet(choice, at, zone)


def is_urgent(what: What, priority: str | None) -> bool:
    """Whether it is to be known before a digest would tell of it: its deadline may be sooner."""
    return what in _ALWAYS_URGENT or priority in _URGENT


def _round_up(now: datetime, minutes: int, zone: ZoneInfo) -> datetime:
    """The next time at which everything that waits goes together."""
    if not minutes:
        return now
    if minutes == DAY_MINUTES:
        local = now.astimezone(zone)
        day = local.date() + timedelta(days=0 if local.time() < _MORNING else 1)
        return datetime.combine(day, _MORNING, zone).astimezone(UTC)
    step = minutes * 60
    return datetime.fromtimestamp((int(now.timestamp()) // step + 1) * step, UTC)


def _after_quiet(choice: Choice, at: datetime, zone: ZoneInfo) -> datetime:
    """The same time, or the end of the quiet hours that it lies in."""
    begin, end = choice.quiet_from, choice.quiet_until
    if begin is None or end is None or begin == end:
        return at
    local = at.astimezone(zone)
    clock = local.time()
    over_midnight = begin > end
    quiet = clock >= begin or clock < end if over_midnight else begin <= clock < end
    if not quiet:
        return at
    day = local.date() + timedelta(days=1 if over_midnight and clock >= begin else 0)
    return datetime.combine(day, end, zone).astimezone(UTC)


# --- what is said -------------------------------------------------------------------------

_OPENED_BY = {
    "low_confidence": "the tool was not sure",
    "dispute": "somebody disputes it",
    "tool_failure": "the tool failed",
    "policy": "a review condition holds",
    "audit": "it was drawn for an audit",
    "unmatched": "its output never came",
}
_SAID_OF_CASE = {
    What.OPENED: "Case {id} of {tool} needs a verdict: {why}.",
    What.REASSIGNED: "Case {id} of {tool} was handed to {whom}.",
    What.REOPENED: "Case {id} of {tool} was opened again.",
    What.ESCALATED: "Case {id} of {tool} was escalated to {whom}.",
    What.OVERDUE: "Case {id} of {tool} is overdue.",
    What.REMINDED: "Case {id} of {tool} still waits for {whom}.",
    What.REVIEWED: "Case {id} of {tool} asks for another reviewer, who judges it blind.",
    What.DIVIDED: "The reviewers of case {id} of {tool} all differ: a lead settles it.",
    What.MENTIONED: "{who} mentions you in a comment on case {id} of {tool}.",
}


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What of a case is said in a line."""

    id: str
    tool: str
    trigger: str
    team: str | None
    """The owner, where it is a team."""
    due_at: datetime | None
    priority: str | None
    cases: int | None = None
    """How many are part of it, where it is an incident."""
    who: str | None = None
    """Who did it, where that matters."""


def line_of_case(what: What, case: CaseFacts) -> str:
    """What happened to a case, until when, and what to do."""
    whom = f"team {case.team}" if case.team else "you"
    why = _OPENED_BY.get(case.trigger, case.trigger.replace("_", " "))
    if case.cases is not None:
        why = f"it is an incident, {case.cases} cases and counting, as {why}"
    said = _SAID_OF_CASE[what].format(id=case.id, tool=case.tool, why=why, whom=whom, who=case.who)
    if case.priority in _URGENT:
        said = f"{case.priority}: {said}"
    if case.due_at is not None and what is not What.OVERDUE:
        said += f" Due {case.due_at.astimezone(UTC):%d %b %H:%M} UTC."
    return said


_VERDICTS = {
    "upheld": "the tool was right",
    "corrected": "it was corrected",
    "undecidable": "it is undecidable",
    "not_actionable": "it is not actionable",
}


_PLAIN_ID = re.compile(r"(?=.*[0-9])[A-Za-z0-9._:/#-]{1,80}")


def _named(output_id: str) -> str:
    """An output by its id, where that can be no words of a customer's; the link leads to it."""
    return output_id if _PLAIN_ID.fullmatch(output_id) else "an output"


def line_of_verdict(tool: str, output_id: str, verdict: str) -> str:
    """What became of an output that somebody disputed or corrected."""
    became = _VERDICTS.get(verdict, verdict)
    return f"Verdict on {_named(output_id)} of {tool}, which you spoke up on: {became}."


def line_of_undone(tool: str, output_id: str) -> str:
    """That a verdict counts no longer."""
    return f"The verdict on {_named(output_id)} of {tool} was taken back; it is looked at again."


def path_of(case_id: int | None, tool: str | None, output_id: str | None) -> str:
    """The page where something can be done about it."""
    if case_id is not None:
        return f"/c/{case_id}"
    if tool is not None and output_id is not None:
        return f"/o/{tool}/{quote(output_id, safe='')}"
    return "/inbox"


# --- what is pushed to devices -------------------------------------------------------------

# In this order: most say that they are others as well.
_BROWSERS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "Chrom": "Chrome",
    "CriOS/": "Chrome",
    "Safari/": "Safari",
}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iOS",
    "iPad": "iPadOS",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


def browser_in_words(user_agent: str) -> str:
    """What people call the browser that calls itself so."""
    browser = _first_in(user_agent, _BROWSERS) or "A browser"
    system = _first_in(user_agent, _SYSTEMS)
    return f"{browser} on {system}" if system else browser


def _first_in(user_agent: str, words: Mapping[str, str]) -> str | None:
    return next((said for sign, said in words.items() if sign in user_agent), None)


# --- which events webhooks hear -----------------------------------------------------------

_SHORT = re.compile(r"[a-z]+\.[a-z_]+")


def type_of(short: str, known: Collection[str]) -> str | None:
    """The type that `case.opened` stands for, or None where there is none."""
    type_ = f"secondlook.{short}.v1" if _SHORT.fullmatch(short) else short
    return type_ if type_ in known else None


# --- how often it is tried ----------------------------------------------------------------

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
GIVEN_UP_AFTER = timedelta(days=3)
LEASE = timedelta(seconds=45)
"""After so long a delivery whose sender says nothing is tried again."""


def next_attempt(attempts: int, *, now: datetime, first: timedelta = FIRST_PAUSE) -> datetime:
    """When to try again after so many attempts: ever later, an hour at most."""
    return now + min(LONGEST_PAUSE, first * 3.0 ** min(attempts - 1, 12))


def given_up(created_at: datetime, *, now: datetime) -> bool:
    """Whether it was tried for long enough."""
    return now - created_at > GIVEN_UP_AFTER
