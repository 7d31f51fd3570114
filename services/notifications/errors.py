"""What can go wrong with notifications."""

from services.kit.errors import InvalidInput, NotFound


class ForbiddenDestination(InvalidInput):
    """Nothing may be sent to this address."""

    title = "Nothing may be sent there"


class NoWebhook(NotFound):
    """There is no such webhook."""


class NoDelivery(NotFound):
    """There is no such delivery."""
