"""What people are told, as mails, Slack and the console say it."""

from pydantic import BaseModel, ConfigDict


class Line(BaseModel):
    """One thing that happened, and the path of the page where something can be done about it."""

    model_config = ConfigDict(frozen=True)

    text: str
    path: str | None = None


class Message(BaseModel):
    """Lines that are sent together, under one subject."""

    model_config = ConfigDict(frozen=True)

    subject: str
    lines: tuple[Line, ...]


def message_of(lines: tuple[Line, ...], *, more: int = 0) -> Message:
    """A message of one line or several; `more` is how many lie in the inbox besides."""
    if len(lines) + more == 1:
        return Message(subject=lines[0].text[:150], lines=lines)
    subject = f"{len(lines) + more} things wait for you in Secondlook"
    if more:
        lines = (*lines, Line(text=f"And {more} more, in your inbox.", path="/inbox"))
    return Message(subject=subject, lines=lines)
