"""Routing policies of the machine, by numbers."""

from tests.factories import ADMIN, LEAD, OTHER_TEAM, OWNER, TEAM

SCHEDULES = ("first", "second")
CALENDARS = ("early", "late")
_OWNERS = (
    f"owner: {{team: {TEAM}}}",
    f"owner: {{team: {OTHER_TEAM}}}",
    f"owner: {{user: {OWNER}}}",
    "owner: {schedule: first}",
    "owner: {schedule: second}",
    f"owner: {{team: {TEAM}, skills: [refunds]}}\n    assign: {{by: least_loaded, max_open: 2}}",
    f"owner: {{team: {TEAM}}}\n    assign: {{by: round_robin, max_open: 3}}",
)
_RUNGS = (
    "schedule:first",
    "schedule:second",
    "manager",
    f"manager:{OWNER}",
    f"team:{OTHER_TEAM}",
    f"user:{LEAD}",
)
_TOGETHER = (
    "",
    "group: {by: [predicted.category], window: 6h, incident_at: 2}",
    "group: {by: [tool], window: 1d, incident_at: 4}",
    "reviewers: 2",
)
_SPANS = (
    "{claim: 1h, resolve: 1d}",
    "{claim: 1bh, resolve: 1bd}",
    "{claim: 2bh, resolve: 2bd, calendar: late}",
)
_HOURS = ("00:00-24:00", "08:00-16:00", "22:00-24:00")
_LASTS = (f"user:{ADMIN}, repeat: 1h", f"user:{LEAD}", f"team:{TEAM}", "team:last-resort")


def policy(first: int, second: int, rung: int, last: int) -> str:
    """A policy with two rules, a catch-all by duty, and a ladder of four rungs.

    Its rules may form incidents, or ask for two reviewers.
    """
    return f"""version: 1
catch_all: {{schedule: first, sla: {{claim: 30m, resolve: 4h}}, escalate: long}}
rules:
  - id: taxes
    when: {{predicted.category: "tax*"}}
    {_OWNERS[first % len(_OWNERS)]}
    {_TOGETHER[(second + last) % len(_TOGETHER)]}
  - id: refunds
    when: {{predicted.category: "refund*"}}
    {_OWNERS[second % len(_OWNERS)]}
    {_TOGETHER[(first + rung) % len(_TOGETHER)]}
    sla: {_SPANS[(first + last) % len(_SPANS)]}
ladders:
  long:
    - {{at: 1h, own: {_quoted(rung)}}}
    - {{own: {_quoted(rung + 2)}}}
    - {{at: 3h, own: {_LASTS[last % len(_LASTS)]}}}
"""


def _quoted(rung: int) -> str:
    return f'"{_RUNGS[rung % len(_RUNGS)]}"'


def schedule(people: tuple[str, ...], every: int, start: str) -> str:
    """A schedule of two layers: people who take turns, and the last of them behind."""
    return f"""timezone: Europe/Berlin
layers:
  - {{people: [{", ".join(people)}], every: {every}h, start: {start}}}
"""


def calendar(hours: int) -> str:
    """A calendar in which one of a few spans of each day counts, in a zone with summer time."""
    return f"""timezone: Europe/Berlin
hours: {{mon-sun: ["{_HOURS[hours % len(_HOURS)]}"]}}
"""
