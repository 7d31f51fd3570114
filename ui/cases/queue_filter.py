"""What the address of the queue narrows it to."""

from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import Request
from secondlook.text import identifier

from services.escalation.lists import Filter
from services.people.rules import Actor

_SHOWN_FILTERS = ("tool", "trigger", "overdue", "mine", "state", "incident")


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """What the address narrows the queue to."""

    tool: str = ""
    trigger: str = ""
    overdue: str = ""
    mine: str = ""
    state: str = ""
    incident: str = ""

    def filter(self, actor: Actor) -> Filter:
        """As the query takes it."""
        return Filter(
            tool=self.tool or None,
            trigger=self.trigger or None,
            overdue=True if self.overdue else None,
            mine=actor.email if self.mine else None,
            state=self.state or None,
            incident=int(self.incident) if _is_number(self.incident) else None,
        )

    def kept(self) -> list[tuple[str, str]]:
        """What a form of its own has to send along."""
        return [(name, getattr(self, name)) for name in _SHOWN_FILTERS if getattr(self, name)]

    def address(self, path: str = "/queue", **changes: str) -> str:
        """A page of this queue, with some of it changed."""
        kept = {name: getattr(self, name) for name in _SHOWN_FILTERS} | changes
        query = urlencode({name: value for name, value in kept.items() if value})
        return f"{path}?{query}" if query else path


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def queue_filter(request: Request) -> QueueFilter:
    """What this request asks for."""
    query = request.query_params
    return QueueFilter(**{name: identifier(query.get(name, ""))[:100] for name in _SHOWN_FILTERS})
