"""Signed webhooks: the body is the CloudEvent, the headers are those of Standard Webhooks."""

import base64
import secrets
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook as Signer

from services.notifications.channels.http import Poster
from services.notifications.channels.outcome import Outcome

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def new_secret() -> str:
    """A fresh secret to sign with."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed_headers(secret: str, message_id: str, body: str, *, at: datetime) -> dict[str, str]:
    """The headers by which a receiver knows us; the id is the same on every repeat."""
    at = at.astimezone(UTC)
    return {
        "content-type": "application/cloudevents+json",
        "user-agent": "Secondlook",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Signer(secret).sign(message_id, at, body),
    }


class WebhookChannel:
    """Posts events."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def send(self, url: str, message_id: str, payload: str, secret: str) -> Outcome:
        """Post one event, signed now."""
        headers = signed_headers(secret, message_id, payload, at=datetime.now(UTC))
        return await self._poster.post(url, payload.encode(), headers)
