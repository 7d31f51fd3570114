"""What is typed into a tool's form, read as the tools' service takes it."""

from collections.abc import Iterator, Mapping
from typing import Any

from services.kit.durations import parse_seconds
from services.kit.errors import SecondlookError
from services.tools.rules import OutputKind
from ui.kit.forms import Form, field_errors, invalid_field, split_lines

_DAY = 86_400
_THRESHOLDS = "category_thresholds"


def read_kind(form: Form) -> OutputKind:
    """What the tool returns.

    Raises:
        InvalidInput: it is none of the kinds.
    """
    typed = form.line("kind")
    try:
        return OutputKind(typed)
    except ValueError:
        raise invalid_field("kind", f"'{typed[:20]}' is no kind of output", "Choose one") from None


def read_number(form: Form, field: str) -> float:
    """A number.

    Raises:
        InvalidInput: what was typed is none.
    """
    number = _float(form.line(field))
    if number is None:
        raise invalid_field(field, "it is no number", "Write a share such as 0.7")
    return number


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def read_seconds(form: Form) -> int:
    """The age at which truth counts, in seconds.

    Raises:
        InvalidInput: what was typed has no fixed length.
    """
    try:
        return parse_seconds(form.line("maturity"))
    except ValueError as error:
        raise invalid_field("maturity", str(error), "Write 72h") from None


def format_span(seconds: int) -> str:
    """Seconds as somebody would type them."""
    if seconds and seconds % _DAY == 0:
        return f"{seconds // _DAY}d"
    return f"{seconds // 3600}h" if seconds and seconds % 3600 == 0 else f"{seconds}s"


def wanted_changes(form: Form) -> dict[str, Any]:
    """What was typed, as the tools' service takes it; lists where the form has them."""
    wanted: dict[str, Any] = {
        "name": form.line("name"),
        "team": form.line("team"),
        "threshold": read_number(form, "threshold"),
        "audit_rate": read_number(form, "audit_rate"),
        "holdout_rate": read_number(form, "holdout_rate"),
        "maturity_seconds": read_seconds(form),
    }
    if "categories" in form:
        wanted["categories"] = form.lines("categories")
    if _THRESHOLDS in form:
        wanted[_THRESHOLDS] = _thresholds(form.text(_THRESHOLDS))
    return wanted


def read_revision(form: Form) -> int | None:
    """The revision that the form was filled with; none that ever was where it is no number."""
    if "revision" not in form:
        return None
    text = form.text("revision")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def threshold_lines(thresholds: Mapping[str, float]) -> str:
    """Thresholds of categories as they are typed, one a line."""
    return "\n".join(f"{name}: {share}" for name, share in sorted(thresholds.items()))


def _threshold_entries(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, category and threshold; a category's own name may hold colons."""
    for number, line in enumerate(split_lines(text), start=1):
        name, _, share = line.rpartition(":")
        if line.strip():
            yield number, name.strip(), share.strip()


def _thresholds(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for number, name, typed in _threshold_entries(text):
        share = _float(typed)
        if not name or share is None:
            problem = f"line {number} is no category with its threshold"
            raise invalid_field(_THRESHOLDS, problem, "Write one such as refund: 0.9")
        if name in found:
            problem = f"line {number}: '{name[:40]}' stands there twice"
            raise invalid_field(_THRESHOLDS, problem, "List each category once")
        found[name] = share
    return found


def errors_by_line(error: SecondlookError, form: Form) -> dict[str, str]:
    """The errors by field; what is wrong with a category's threshold names its line."""
    errors = field_errors(error)
    for problem in error.problems:
        field, _, category = problem.pointer.removeprefix("/").partition("/")
        for number, name, _ in _threshold_entries(form.text(field)) if category else ():
            if name[:40] == category:
                errors[field] = f"line {number}: {errors[field]}"
    return errors
