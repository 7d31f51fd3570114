"""Conflicts that only tools have."""

from services.kit.errors import Conflict


class TwoKeysLive(Conflict):
    """A tool has two live keys; a third would make rotation a guess."""

    title = "Two keys are live"
