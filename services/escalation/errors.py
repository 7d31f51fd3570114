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
    """Whoever disputed or corrected an output does not review it."""

    title = "You spoke up on this yourself"


class PolicyMovedOn(Conflict):
    """Somebody put another routing policy into force since the caller looked."""

    title = "Somebody put another routing policy into force"


class OwnVerdict(NotAllowed):
    """Whoever decided does not decide an appeal against it."""

    title = "You decided this yourself"


class AlreadyReviewed(NotAllowed):
    """Whoever gave an opinion on a case does not give another one."""

    title = "You gave your opinion already"


class LeadNeeded(NotAllowed):
    """All reviewers differ, or too few are there: only a lead settles it."""

    title = "A lead settles this"


class NothingToSettle(Conflict):
    """No other reviewer is asked."""

    title = "Nobody else is asked"
