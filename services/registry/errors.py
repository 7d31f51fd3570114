"""Conflicts that only the registry knows."""

from services.kit.errors import Conflict, NotSignedIn, SecondlookError


class AlreadyThere(Conflict):
    """A tool, team or person of that name exists."""

    title = "There is one already"


class ChangedMeanwhile(SecondlookError):
    """The tool was changed since the revision that the caller names (`If-Match`)."""

    status = 412
    title = "Changed since you read it"


class TwoKeysLive(Conflict):
    """A tool has two live keys; a third would make rotation a guess."""

    title = "Two keys are live"


class StillOwns(Conflict):
    """The person or team answers for something and cannot go before it is handed over."""

    title = "Still an owner"


class SignInRefused(NotSignedIn):
    """The password, link or session is not good. It never says which part was wrong."""

    title = "That did not sign you in"
