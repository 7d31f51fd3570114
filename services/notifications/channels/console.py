"""Where no mail server is set, as in development: what would be mailed is logged."""

import structlog

from services.notifications.channels.message import Message
from services.notifications.channels.outcome import Outcome, Result, outcome

_log = structlog.get_logger()


class ConsoleChannel:
    """Writes mails to the log."""

    async def send(self, to: str, message_id: str, payload: str) -> Outcome:
        """Log what would be mailed."""
        message = Message.model_validate_json(payload)
        lines = [line.text for line in message.lines]
        _log.info("mail", to=to, id=message_id, subject=message.subject, lines=lines)
        return outcome(Result.SENT, "written to the log: SECONDLOOK_SMTP_URL is not set")
