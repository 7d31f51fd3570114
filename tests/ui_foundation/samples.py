"""What an online bank's support team would see: cases, categories, rates, points in time."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

NOW = datetime(2026, 11, 21, 14, 5, tzinfo=UTC)
CATEGORIES = (
    "Card arrival",
    "Refund not showing up",
    "Top-up failed",
    "Card payment not recognised",
    "Declined transfer",
    "Cash withdrawal charge",
    "Exchange rate",
    "Lost or stolen card",
    "Identity check",
    "Change PIN",
    "Direct debit not recognised",
    "Pending transfer",
    "Beneficiary not allowed",
    "Age limit",
    "Close account",
)
_TICKETS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("tickets.json").read_text(encoding="utf-8")
)


def choices() -> list[dict[str, Any]]:
    """The numbered verdicts of one case."""
    return [
        {"value": "keep", "label": "Keep Card arrival", "hint": "The AI is right"}
        | {"confidence": 0.62},
        {"value": "lost_card", "label": "Lost or stolen card", "confidence": 0.21},
        {"value": "change_address", "label": "Change of address", "confidence": 0.09},
        {"value": "close_account", "label": "Close account", "confidence": 0.03},
    ]


def finder_options() -> list[dict[str, Any]]:
    """The whole taxonomy."""
    return [
        {"value": name.lower().replace(" ", "_"), "label": name, "hint": f"{(n * 37) % 90} today"}
        for n, name in enumerate(CATEGORIES, 1)
    ]


def cases(count: int = 8) -> list[dict[str, Any]]:
    """Cases in the order of their deadlines."""
    found = []
    for index in range(count):
        ticket, lap = _TICKETS[index % len(_TICKETS)], index // len(_TICKETS)
        trigger = "low confidence" if ticket["confidence"] > 0.5 else "disputed"
        found.append(
            ticket
            | {
                "number": ticket["number"] + 100 * lap,
                "due_at": NOW + timedelta(minutes=ticket["due"] + 300 * lap),
                "meta": (trigger, "ticket-categoriser"),
            }
        )
    return found


def timeline() -> list[dict[str, Any]]:
    """A case's history."""
    return [
        {"at": NOW - timedelta(minutes=2), "text": "Claimed", "actor": "Ana Sousa", "icon": "user"},
        {
            "at": NOW - timedelta(minutes=48),
            "text": "Escalated to level 1",
            "icon": "arrow-up-right",
            "note": "Nobody had claimed it for 30 min, so it went to the card operations team.",
        },
        {
            "at": NOW - timedelta(hours=2),
            "text": "Opened: low confidence",
            "actor": "ticket-categoriser",
            "icon": "inbox",
        },
    ]


def times() -> dict[str, datetime]:
    """Moments that are told in every way."""
    return {
        "late": NOW - timedelta(minutes=3),
        "soon": NOW + timedelta(minutes=14),
        "later": NOW + timedelta(hours=5),
        "long_ago": NOW - timedelta(days=40),
    }


def override_series() -> list[dict[str, Any]]:
    """28 days of override rate, two of them silent."""
    points: list[dict[str, Any]] = []
    for day in range(28):
        moment = NOW - timedelta(days=27 - day)
        label = f"{moment.day} {moment:%b}"
        if day in (11, 12):
            points.append({"label": label, "value": None, "n": 0})
            continue
        jump = 0.055 if day >= 22 else 0.0
        value = round(0.084 + jump + 0.014 * math.sin(day * 1.7), 4)
        points.append({"label": label, "value": value, "n": 380 + 17 * (day % 7)})
    return points


def audited() -> list[dict[str, Any]]:
    """Audited accuracy by category: label, value, low, high, n."""
    rows = (
        ("Card arrival", 0.96, 0.92, 0.98, 412),
        ("Exchange rate", 0.91, 0.84, 0.95, 118),
        ("Top-up failed", 0.87, 0.82, 0.91, 236),
        ("Refund not showing up", 0.79, 0.71, 0.85, 121),
        ("Direct debit payment not recognised", None, None, None, 3),
    )
    return [dict(zip(("label", "value", "low", "high", "n"), row, strict=True)) for row in rows]


def tools() -> list[dict[str, Any]]:
    """Deployed tools and how they are."""
    wave: list[float | None] = [round(0.2 + 0.03 * math.sin(n), 3) for n in range(28)]
    band = (0.16, 0.25)
    names = ("name", "state", "cases", "overrides", "trend", "band", "p90", "changed")
    rising = [*wave[:22], 0.24, 0.25, 0.27, 0.29, 0.31, 0.34]
    gap = [None if 9 < n < 16 else value for n, value in enumerate(wave)]
    days, hours, minutes = (
        NOW - timedelta(days=6),
        NOW - timedelta(hours=30),
        NOW - timedelta(minutes=12),
    )
    rows = (
        ("ticket-categoriser", "live", (1284, 15310), (42, 500), rising, band, 840, days),
        ("reply-drafter", "shadow", (310, 2400), (0, 0), wave, band, 95, hours),
        ("fraud-flag", "fallback", (77, 77), (9, 31), gap, band, 7300, minutes),
        (
            "invoice-field-extractor-for-business-accounts",
            *("stopped", (0, 0), (0, 0), [None] * 28, None, 0, None),
        ),
    )
    return [dict(zip(names, row, strict=True)) for row in rows]
