"""What people write beside a verb."""

from secondlook.text import NOTE_LENGTH, identifier, normalised, storable

from services.kit.errors import invalid


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
