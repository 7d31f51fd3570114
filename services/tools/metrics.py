"""What Prometheus is told of tools, and the counts by version that other packages tell of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from services.kit.counts import Total
from services.kit.metrics import Samples, gauge
from services.tools.queries import ToolInfo
from services.tools.rules import ToolState
from services.tools.versions import ToolVersion

METRICS = (gauge("secondlook_tool_state", "1 for the state the tool is in.", "tool", "state"),)


@dataclass(frozen=True, slots=True)
class Scrape:
    """What every package reads its samples from: one moment of the database.

    `shown` are the numbers of the versions that have series of their own.
    """

    session: Session
    now: datetime
    tools: Sequence[ToolInfo]
    totals: Sequence[Total]
    versions: Mapping[int, ToolVersion]
    shown: frozenset[int]
    samples: Samples


def read(scrape: Scrape) -> None:
    """The state of every tool."""
    for tool in scrape.tools:
        for state in ToolState:
            is_it = float(tool.state is state)
            scrape.samples.set("secondlook_tool_state", is_it, tool.slug, state.value)


def count_by_version(scrape: Scrape, measure: str, name: str, words: Sequence[str]) -> None:
    """The counts of a measure by version and word: each there, at 0, for the versions shown.

    Versions whose labels are equal share a series: only eyes go by it.
    """
    for number in scrape.shown:
        for word in words:
            scrape.samples.add(name, 0, *_of(scrape, number), word)
    for total in scrape.totals:
        if total.measure == measure and total.version in scrape.shown and total.label in words:
            scrape.samples.add(name, total.n, *_of(scrape, total.version), total.label)


def count_by_tool(scrape: Scrape, measure: str, name: str, words: Sequence[str]) -> None:
    """A measure's counts by tool: each there, at 0, from the tool's registration on."""
    for tool in scrape.tools:
        scrape.samples.add(name, 0, tool.slug)
    for total in scrape.totals:
        if total.measure == measure and total.label in words:
            scrape.samples.add(name, total.n, total.tool)


def _of(scrape: Scrape, number: int) -> tuple[str, str]:
    tool, version = scrape.versions[number]
    return tool, version.label
