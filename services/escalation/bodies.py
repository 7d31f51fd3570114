"""What people send with their verbs on cases."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from secondlook.text import ID_BYTES, NOTE_LENGTH

from services.kit.web.storable import Storable, Text
from services.tools.rules import VerdictKind

Note = Annotated[Text, Field(max_length=NOTE_LENGTH)]
Token = Annotated[str, Field(min_length=1, max_length=20)]


CaseId = Annotated[int, Field(ge=1, lt=2**63)]
MOST = 1_000
"""So many cases one request takes on at most."""


class Body(BaseModel):
    """A request's body: what is not named here is refused."""

    model_config = ConfigDict(extra="forbid")


class EmptyBody(Body):
    """Nothing to say."""


class ReleaseBody(Body):
    """The claim to end."""

    token: Token


class VerdictBody(Body):
    """A verdict; `value` goes with `corrected`, and a note with `undecidable` and
    `not_actionable`. Where several people review the case, it is one opinion of theirs; a lead
    decides without the others by saying `alone`, with a note."""

    token: Token
    verdict: VerdictKind
    value: Annotated[str | bool | dict[str, Any] | None, Storable] = None
    note: Note | None = None
    alone: Annotated[bool, Field(strict=True)] = False


class OwnerBody(Body):
    """Who shall be accountable: a team's slug or a person's e-mail address."""

    kind: Literal["person", "team"]
    id: Annotated[Text, Field(min_length=1, max_length=ID_BYTES)]


class ReassignBody(Body):
    """The new owner."""

    owner: OwnerBody
    token: Token | None = None
    note: Note | None = None


class CommentBody(Body):
    """Something to remember."""

    note: Note
    token: Token | None = None


class EscalateBody(Body):
    """The level that was seen; where the case has moved on, nothing happens."""

    level: Annotated[int, Field(strict=True, ge=0, le=1000)]
    note: Note | None = None


class UndoBody(Body):
    """The verdict that was seen; where it is named and the case has another, or none, nothing
    happens. `opinion` takes back one's own opinion."""

    verdict_id: Annotated[Text, Field(strict=True, min_length=1, max_length=ID_BYTES)] | None = None


class MergeBody(Body):
    """The case to become part of."""

    into: CaseId


class BulkBody(Body):
    """One verb on these cases. `body` is the verb's own: what each case knows (a claim's token, the
    level, the verdict to undo) may be left out."""

    verb: Annotated[str, Field(max_length=20)]
    ids: Annotated[list[CaseId], Field(min_length=1, max_length=MOST)]
    body: dict[str, Any] = {}


class ReopenBody(Body):
    """Why it is opened again."""

    note: Note | None = None


class WaitBody(Body):
    """Until when the claimed case waits, and for what."""

    token: Token
    until: AwareDatetime
    reason: Note


class SnoozeBody(Body):
    """Why the case is put off, and until when, or until how many `more` of the same cause came.

    With the claim's token where it is claimed.
    """

    token: Token | None = None
    until: AwareDatetime | None = None
    more: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    reason: Note


class WakeBody(Body):
    """What is new."""

    note: Note | None = None
