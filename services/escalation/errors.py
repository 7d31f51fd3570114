"""Conflicts that only escalation has."""

from services.kit.errors import Conflict, NotAllowed


class HeldBySomebody(Conflict):
    """Another person holds the case; `holder` says who and until when."""

    title = "Somebody else holds this case"


class StaleToken(Conflict):
    """The claim that the token stands for is over."""

    title = "Your claim is over"


class MovedOn(Conflict):
    """The case is no longer in the state, or on the level, that the caller saw."""

    title = "The case has moved on"


class OwnDispute(NotAllowed):
    """Whoever disputed an output does not review it."""

    title = "You disputed this yourself"


class PolicyMovedOn(Conflict):
    """Somebody put another routing policy into force since the caller looked."""

    title = "Somebody put another routing policy into force"
