"""What an online bank's support desk would see: cases, categories, rates, points in time."""

import math
from datetime import UTC, datetime, timedelta
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

_TICKETS = (
    (4821, "Card arrival", "", -3, 0.62, "Still no card after eleven working days, and the app says it was delivered to my old flat."),
    (4822, "Refund not showing up", "Card payment not recognised", 6, 0.48, "The hotel says they refunded me on the 3rd. I see nothing, only two payments that I never made."),
    (4823, "Top-up failed", "", 14, 0.55, "Topped up 200 EUR twice because the first one said failed. Now both are gone from my other bank."),
    (4824, "Exchange rate", "", 41, 0.71, "You charged me 1.21 when your own page said 1.17 at that minute. Screenshot attached."),
    (4825, "Lost or stolen card", "", 95, 0.66, "My bag was taken in Porto. Block everything please, and tell me how I pay the hostel tonight."),
    (4826, "Declined transfer", "Beneficiary not allowed", 180, 0.39, "Transfer to my landlord is refused for the third month in a row and nobody says why."),
    (4827, "Identity check", "", 260, 0.58, "The passport photo is refused again and again though it is sharp. Is it the accent in my surname, Wójcik?"),
    (4828, "Cash withdrawal charge", "", 1500, 0.73, "Charged 3.50 for the second withdrawal this month. I thought five were free."),
)  # fmt: skip


def choices() -> list[dict[str, Any]]:
    """The numbered verdicts of one case."""
    return [
        {
            "value": "keep",
            "label": "Keep Card arrival",
            "hint": "The AI is right",
            "confidence": 0.62,
        },
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
        number, said, human, due, confidence, text = _TICKETS[index % len(_TICKETS)]
        found.append(
            {
                "number": number + 10 * (index // len(_TICKETS)) * 10,
                "said": said,
                "human": human,
                "due_at": NOW + timedelta(minutes=due + 300 * (index // len(_TICKETS))),
                "confidence": confidence,
                "text": text,
                "meta": ("low confidence" if confidence > 0.5 else "disputed", "ticket-categoriser"),
            }
        )  # fmt: skip
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


def override_series() -> list[dict[str, Any]]:
    """28 days of override rate, two of them silent."""
    points: list[dict[str, Any]] = []
    for day in range(28):
        label = (NOW - timedelta(days=27 - day)).strftime("%-d %b")
        if day in (11, 12):
            points.append({"label": label, "value": None, "n": 0})
            continue
        jump = 0.055 if day >= 22 else 0.0
        points.append(
            {
                "label": label,
                "value": round(0.084 + jump + 0.014 * math.sin(day * 1.7), 4),
                "n": 380 + 17 * (day % 7),
            }
        )
    return points


def audited() -> list[dict[str, Any]]:
    """Audited accuracy by category."""
    return [
        {"label": "Card arrival", "value": 0.96, "low": 0.92, "high": 0.98, "n": 412},
        {"label": "Exchange rate", "value": 0.91, "low": 0.84, "high": 0.95, "n": 118},
        {"label": "Top-up failed", "value": 0.87, "low": 0.82, "high": 0.91, "n": 236},
        {"label": "Refund not showing up", "value": 0.79, "low": 0.71, "high": 0.85, "n": 121},
        {"label": "Direct debit payment not recognised", "value": None, "low": 0, "high": 0, "n": 3},
    ]  # fmt: skip


def tools() -> list[dict[str, Any]]:
    """Deployed tools and how they are."""
    wave = [round(0.2 + 0.03 * math.sin(n), 3) for n in range(28)]
    return [
        {"name": "ticket-categoriser", "state": "live", "cases": (1284, 15310), "overrides": (42, 500),
         "trend": wave[:22] + [0.24, 0.25, 0.27, 0.29, 0.31, 0.34], "band": (0.16, 0.25), "p90": 840, "changed": NOW - timedelta(days=6)},
        {"name": "reply-drafter", "state": "shadow", "cases": (310, 2400), "overrides": (0, 0),
         "trend": wave, "band": (0.16, 0.25), "p90": 95, "changed": NOW - timedelta(hours=30)},
        {"name": "fraud-flag", "state": "fallback", "cases": (77, 77), "overrides": (9, 31),
         "trend": [None if 9 < n < 16 else v for n, v in enumerate(wave)], "band": (0.16, 0.25), "p90": 7300, "changed": NOW - timedelta(minutes=12)},
        {"name": "invoice-field-extractor-for-business-accounts", "state": "stopped", "cases": (0, 0), "overrides": (0, 0),
         "trend": [None] * 28, "band": None, "p90": 0, "changed": None},
    ]  # fmt: skip
