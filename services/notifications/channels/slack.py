"""Slack, by an incoming webhook of its own."""

import json
from collections.abc import Callable

from services.notifications.channels.http import Poster
from services.notifications.channels.message import Message
from services.notifications.channels.outcome import Outcome


def as_text(message: Message, address: str) -> str:
    """A message as Slack reads it: its three characters are escaped, links are named."""
    return "\n".join(
        f"{_escaped(line.text)} <{address}{line.path}|Open it>"
        if line.path
        else _escaped(line.text)
        for line in message.lines
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class SlackChannel:
    """Posts lines to Slack."""

    def __init__(self, poster: Poster, address: Callable[[], str]) -> None:
        """`address` answers where people reach the pages."""
        self._poster, self._address = poster, address

    async def send(self, url: str, message_id: str, payload: str) -> Outcome:
        """Post a message. Slack knows no ids: a repeat shows twice."""
        text = as_text(Message.model_validate_json(payload), self._address())
        headers = {"content-type": "application/json", "webhook-id": message_id}
        return await self._poster.post(url, json.dumps({"text": text}).encode(), headers)
