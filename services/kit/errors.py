"""The one base of errors that reach a person or a tool, each with its HTTP status."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the field, empty for the whole input.
        problem: what is wrong, in plain English.
        hint: what to do about it.
    """

    pointer: str
    problem: str
    hint: str


class SecondlookError(Exception):
    """Something that the caller did or asked for cannot be done, and why.

    Subclasses set `status` (HTTP) and `title` (short, the same for every case of it);
    the message is particular to the case.
    """

    status: ClassVar[int] = 400
    title: ClassVar[str] = "The request cannot be carried out"

    def __init__(self, detail: str, *, problems: tuple[Problem, ...] = (), **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = problems
        self.extra = extra

    def as_problem(self) -> dict[str, Any]:
        """The body of an `application/problem+json` answer (RFC 9457)."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }
        if self.problems:
            body["errors"] = [asdict(problem) for problem in self.problems]
        return body


class InvalidInput(SecondlookError):
    """A field of the input is wrong; `problems` says which and what to do about it."""

    status = 422
    title = "The input is not valid"


class NotSignedIn(SecondlookError):
    """Nobody is signed in, or the key or token is not known."""

    status = 401
    title = "Sign in first"


class NotAllowed(SecondlookError):
    """The actor is known and may see the object, but may not do this to it."""

    status = 403
    title = "You may not do this"


class NotFound(SecondlookError):
    """There is no such object, or the actor may not know that there is."""

    status = 404
    title = "Not found"


class Conflict(SecondlookError):
    """The object has moved on since the actor last saw it."""

    status = 409
    title = "Something else happened first"


class TooMany(SecondlookError):
    """The caller must wait before it tries again."""

    status = 429
    title = "Too many requests"


class Unavailable(SecondlookError):
    """Something that the request needs is not there just now; trying again may help."""

    status = 503
    title = "Not available just now"


class AlreadyThere(Conflict):
    """A thing of that name exists."""

    title = "There is one already"


class ChangedMeanwhile(SecondlookError):
    """The object was changed since the revision that the caller names (`If-Match`)."""

    status = 412
    title = "Changed since you read it"


def invalid(field: str, problem: str, hint: str) -> InvalidInput:
    """The error for one field that cannot be used."""
    found = Problem(pointer=f"/{field}", problem=problem, hint=hint)
    return InvalidInput(f"{field}: {problem}. {hint}", problems=(found,))
