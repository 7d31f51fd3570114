"""People, tools, events and installations of all tests and benchmarks, made in one place.

What every test needs is here by name. What starts something has a module of its own: `api`
(requests in this process), `site` (pages for a browser), `pipeline` (the real log and runner),
`server` and `broker` (processes), `intake_server` (a stand-in that fails on purpose, for SDKs).
"""

from tests.factories.cases import LEASE, Casework
from tests.factories.delivery import Delivery, as_batches
from tests.factories.installation import Installation, cloned, named, populate, populate_fully
from tests.factories.outputs import NOON, correction, failure, output, withdrawal
from tests.factories.people import (
    ADMIN,
    AUDITOR,
    LEAD,
    OPS,
    OTHER_TEAM,
    OUTSIDER,
    OWNER,
    PASSWORD,
    REP,
    TEAM,
    TEAMMATE,
    actor_of,
    add_people,
    add_person,
    add_schedule,
)
from tests.factories.routing import POLICY
from tests.factories.storage import fill, one, rows, total
from tests.factories.tools import (
    AUDITED,
    CATEGORIES,
    FIELDS,
    FLAG,
    FOREIGN,
    TEXT,
    TOOL,
    VALUES,
    add_tool,
    tool_key,
)

__all__ = [
    "ADMIN",
    "AUDITED",
    "AUDITOR",
    "CATEGORIES",
    "FIELDS",
    "FLAG",
    "FOREIGN",
    "LEAD",
    "LEASE",
    "NOON",
    "OPS",
    "OTHER_TEAM",
    "OUTSIDER",
    "OWNER",
    "PASSWORD",
    "POLICY",
    "REP",
    "TEAM",
    "TEAMMATE",
    "TEXT",
    "TOOL",
    "VALUES",
    "Casework",
    "Delivery",
    "Installation",
    "actor_of",
    "add_people",
    "add_person",
    "add_schedule",
    "add_tool",
    "as_batches",
    "cloned",
    "correction",
    "failure",
    "fill",
    "named",
    "one",
    "output",
    "populate",
    "populate_fully",
    "rows",
    "tool_key",
    "total",
    "withdrawal",
]
