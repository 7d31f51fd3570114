"""What somebody typed and could not send, kept in the answer so that it can be sent again."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from fastapi import Request

from ui.kit.csrf import CSRF_FIELD
from ui.kit.forms import FORM_FIELDS, Form, posted_form
from ui.kit.markup import local_url

_SECRET = ("/sign-in", "/account")
"""Pages whose forms hold passwords: nothing of theirs is ever written into an answer."""

_TECHNICAL = frozenset({"token", "level", "revision", "seen_role", "seen_team", "correction"})
"""Fields that a page fills in by itself: sent along, not shown."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A form that was not taken: where it goes, and every field but the token of its page."""

    action: str
    fields: tuple[tuple[str, str], ...]

    @property
    def encoded(self) -> str:
        """The fields as one text, for a hidden field of another form."""
        return urlencode(self.fields)

    @property
    def shown(self) -> list[tuple[str, str]]:
        """What a person typed or chose, with names as they read them."""
        return [
            (name.removeprefix("field.").replace("_", " ").capitalize(), value)
            for name, value in self.fields
            if name not in _TECHNICAL and value
        ]


def draft_of(request: Request) -> Draft | None:
    """What the form of this request held, or None where there is nothing to keep."""
    form = posted_form(request)
    path = request.url.path
    if form is None or path.startswith(_SECRET):
        return None
    kept = tuple(pair for pair in form.pairs() if pair[0] != CSRF_FIELD)
    draft = Draft(f"{path}?{request.url.query}".removesuffix("?"), kept)
    return draft if draft.shown else None


def draft_in(form: Form) -> Draft | None:
    """The draft that a sign-in form carries along, or None."""
    action, encoded = local_url(form.text("draft_to")), form.text("draft")
    if action is None or not encoded or action.startswith(_SECRET):
        return None
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, max_num_fields=FORM_FIELDS)
    except ValueError:
        return None
    return Draft(action, tuple(pairs))


def came_from(headers: Mapping[str, str]) -> str:
    """The page of ours that a request was made on: its path, or nothing where it is not said."""
    address = headers.get("hx-current-url") or headers.get("referer") or ""
    _, _, rest = address.partition("://")
    _, slash, path = rest.partition("/")
    return local_url(slash + path) or ""
