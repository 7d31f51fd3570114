"""What people write beside a verb."""

from secondlook.text import NOTE_LENGTH, identifier, normalised, storable

from services.escalation.judgement import NEEDS_NOTE
from services.kit.errors import invalid
from services.tools.rules import VerdictKind


def checked_note(note: str | None) -> str | None:
    """A note as it is stored and as every contract takes it; None where nothing was written.

    Raises:
        InvalidInput: it is too long, or cannot be stored.
    """
    if not note or not identifier(note):
        return None
    written = normalised(note)
    if len(written) > NOTE_LENGTH:
        raise invalid("note", f"it has over {NOTE_LENGTH} characters", "Shorten it.")
    if not storable(written):
        raise invalid("note", "it holds a character that cannot be stored", "Write it anew.")
    return written


def require_note(verdict: VerdictKind, note: str | None, *, alone: bool = False) -> None:
    """Refuse a verdict without the note that it needs.

    Raises:
        InvalidInput: it says nothing by itself, or it was given without the other reviewers.
    """
    if note is None and verdict in NEEDS_NOTE:
        problem = f"`{verdict}` needs a note that says why"
        raise invalid("note", problem, "Write what is missing, or why nothing is to be done.")
    if note is None and alone:
        problem = "a verdict without the other reviewers needs a note that says why"
        raise invalid("note", problem, "Write why you did not wait for them.")
