"""Numbers, spans and moments as people read them."""

import math
from datetime import UTC, datetime, timedelta

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NBSP = "\N{NO-BREAK SPACE}"


def format_number(value: float) -> str:
    """`12480` → `12,480`; fractions keep at most two decimals."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{int(value):,}"


def format_percent(share: float, digits: int = 1) -> str:
    """`0.084` → `8.4 %`. Never says 0 or 100 % of what is only nearly so."""
    shown = f"{share * 100:.{digits}f}"
    smallest = 10**-digits
    if share > 0 and float(shown) == 0:
        shown = f"<{smallest:.{digits}f}"
    elif share < 1 and float(shown) == 100:
        shown = f">{100 - smallest:.{digits}f}"
    if share in (0, 1):
        shown = f"{share * 100:.0f}"
    return f"{shown}{_NBSP}%"


def format_duration(span: timedelta | float) -> str:
    """The one or two largest units: `40 s`, `14 min`, `2 h 5 min`, `3 d 4 h`."""
    seconds = int(abs(span.total_seconds() if isinstance(span, timedelta) else span))
    if seconds < 60:
        return f"{seconds}{_NBSP}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if not hours:
        return f"{minutes}{_NBSP}min"
    large, small = (
        (f"{days}{_NBSP}d", f"{hours % 24}{_NBSP}h" if hours % 24 else "")
        if days
        else (f"{hours}{_NBSP}h", f"{minutes % 60}{_NBSP}min" if minutes % 60 else "")
    )
    return f"{large} {small}".rstrip()


def format_coarse(seconds: float) -> str:
    """The largest unit alone: what changes least while one looks at it."""
    whole = int(abs(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size}{_NBSP}{unit}"
    return f"{whole}{_NBSP}s"


def format_relative(moment: datetime, now: datetime) -> str:
    """`just now`, `3 min ago`, `in 2 h`. `app.js` says the same words."""
    seconds = (moment - now).total_seconds()
    if abs(seconds) < 60:
        return "just now"
    return f"in {format_coarse(seconds)}" if seconds > 0 else f"{format_coarse(seconds)} ago"


def format_due(due_at: datetime, now: datetime, *, soon_minutes: float) -> tuple[str, str]:
    """Level (`late`, `soon`, `ok`) and words (`Late 3 min`, `14 min`)."""
    seconds = (due_at - now).total_seconds()
    if seconds <= 0:
        return "late", f"Late {format_coarse(seconds)}"
    return "soon" if seconds <= soon_minutes * 60 else "ok", format_coarse(seconds)


def format_absolute(moment: datetime) -> str:
    """`21 Nov 2026, 14:05 UTC`; the browser rewrites it in the reader's own zone."""
    at = moment.astimezone(UTC)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at.hour:02}:{at.minute:02} UTC"


def format_iso(moment: datetime) -> str:
    """The moment for machines."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be shown")
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values that cover `low` to `high` in about `count` steps."""
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * index, 10) for index in range(first, max(last, first + 1) + 1)]
