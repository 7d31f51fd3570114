"""Conflicts that only people have."""

from services.kit.errors import Conflict, NotSignedIn


class StillOwns(Conflict):
    """The person or team answers for something and cannot go before it is handed over."""

    title = "Still an owner"


class NotAway(Conflict):
    """Who is not away cannot come back."""

    title = "Not away"


class SignInRefused(NotSignedIn):
    """The password, link or session is not good. It never says which part was wrong."""

    title = "That did not sign you in"
