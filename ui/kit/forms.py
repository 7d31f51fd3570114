"""Forms that are posted: read once, within limits, as text that can be stored."""

from collections.abc import Iterable
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from secondlook.text import identifier, normalised
from starlette.concurrency import run_in_threadpool

from services.kit.errors import InvalidInput, Problem, SecondlookError

FORM_BYTES = 1024 * 1024
FORM_FIELDS = 1000
"""Most that a form may hold. No page of ours takes files."""

_URLENCODED = "application/x-www-form-urlencoded"
_SCOPE_KEY = "secondlook.form"
_NAME_SHOWN = 40


class FormTooLarge(SecondlookError):
    """The form is larger than a page of ours can send."""

    status = 413
    title = "The form is too large"


class NoForm(SecondlookError):
    """The body is no form as our pages send it."""

    status = 415
    title = "This is no form of ours"


class Form:
    """What was typed and pressed: names with one value or several, each text that can be stored.

    Each is normalised, as everywhere behind the doors, so that the same word typed on another
    system is the same word.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def text(self, name: str, default: str = "") -> str:
        """The first value under this name, or `default` where there is none."""
        return self._values.get(name, [default])[0]

    def line(self, name: str) -> str:
        """The same as a name: without the blanks around it."""
        return identifier(self.text(name))

    def all(self, name: str) -> list[str]:
        """Every value under this name, in the order of the form."""
        return list(self._values.get(name, ()))

    def number(self, name: str, default: int) -> int:
        """A whole number, or `default` where there is none.

        Raises:
            InvalidInput: it is something else.
        """
        typed = self.line(name)
        if not typed:
            return default
        if not typed.isascii() or not typed.removeprefix("-").isdigit() or len(typed) > 18:
            raise invalid_field(name, "it is no whole number", "Write digits alone")
        return int(typed)

    def lines(self, name: str) -> list[str]:
        """The lines of a text without those that are blank.

        Only line feeds end a line: other characters that some tools break lines at stay part
        of what was typed.
        """
        named = (identifier(line) for line in split_lines(self.text(name)))
        return [line for line in named if line]

    def first_values(self) -> dict[str, str]:
        """Every name with its first value."""
        return {name: values[0] for name, values in self._values.items()}

    def pairs(self) -> list[tuple[str, str]]:
        """Every name with every value."""
        return [(name, value) for name, values in self._values.items() for value in values]

    def __contains__(self, name: object) -> bool:
        return name in self._values


async def read_form(request: Request, limit: int = FORM_BYTES) -> Form:
    """The form in the body of this request, read once however often it is asked for.

    Raises:
        FormTooLarge: the body is larger than `limit`; the rest of it is not read.
        NoForm: the body is something else than a form.
        InvalidInput: it holds too many fields, or text that cannot be stored.
    """
    known = request.scope.get(_SCOPE_KEY)
    if known is None:
        body = await _read_body(request, limit)
        # Half a million escaped characters take a while: others are answered meanwhile.
        known = request.scope[_SCOPE_KEY] = await run_in_threadpool(_parse, body)
    form: Form = known
    return form


def posted_form(request: Request) -> Form | None:
    """The form of this request where it was read already."""
    form: Form | None = request.scope.get(_SCOPE_KEY)
    return form


PostedForm = Annotated[Form, Depends(read_form)]
"""In a route's signature: it expects a form, and this is it."""


async def _read_body(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for chunk in request.stream():
        if chunk and kind != _URLENCODED:
            raise NoForm("Send the form as application/x-www-form-urlencoded, without files.")
        body += chunk
        if len(body) > limit:
            raise FormTooLarge(f"The form is larger than {limit // 1024} KiB.")
    return bytes(body)


def _parse(body: bytes) -> Form:
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS
        )
    except UnicodeDecodeError:
        problem = Problem("", "it holds bytes that are no UTF-8", "Type it again.")
        raise InvalidInput("The form is no UTF-8.", problems=(problem,)) from None
    except ValueError:
        problem = Problem("", f"it has more than {FORM_FIELDS} fields", "Send less at once.")
        raise InvalidInput("The form has too many fields.", problems=(problem,)) from None
    _require_storable(pairs)
    return Form([(normalised(name), normalised(value)) for name, value in pairs])


def split_lines(text: str) -> list[str]:
    """The lines of a text that was typed, blank ones too."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _require_storable(pairs: list[tuple[str, str]]) -> None:
    problems = tuple(
        Problem(
            f"/{name.replace(chr(0), chr(0xFFFD))[:_NAME_SHOWN]}",
            "it holds the character U+0000",
            "Take that character out.",
        )
        for name, value in pairs
        if "\x00" in name or "\x00" in value
    )
    if problems:
        first = problems[0]
        raise InvalidInput(f"{first.pointer[1:]}: {first.problem}.", problems=problems)


# --- what was wrong with it -------------------------------------------------------------


def field_errors(error: SecondlookError, *, otherwise: str = "slug") -> dict[str, str]:
    """An error's problems by the field that each is about; `otherwise` where it names none."""
    found = {
        p.pointer.removeprefix("/").split("/")[0]: f"{p.problem}. {p.hint}" for p in error.problems
    }
    return found or {otherwise: error.detail.removeprefix(f"{otherwise}: ")}


def invalid_field(field: str, problem: str, hint: str) -> InvalidInput:
    """The error for one field of a form."""
    return InvalidInput(problem, problems=(Problem(f"/{field}", problem, hint),))
