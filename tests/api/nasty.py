"""Values that nobody means."""

import json
from base64 import urlsafe_b64encode

TEXTS = {
    "NUL": "\0",
    "NUL inside": "a\0b",
    "huge number": "1" + "0" * 22,
    "negative": "-1",
    "infinity": "Infinity",
    "not a number": "NaN",
    "lone surrogate": "\ud800",
    "long": "x" * 100_000,
    "empty": "",
    "emoji": "🙂",
}
JSON_VALUES = TEXTS | {
    "huge integer": 10**22,
    "infinite": float("inf"),
    "nan": float("nan"),
    "null": None,
    "true": True,
    "list": [],
    "deep": {"a": {"b": {"c": [1]}}},
    "NUL name": {"\0": 0.5},
    "empty name": {"": 0.5},
    "surrogate name": {"\ud800": 0.5},
}
_WHEN = "2026-01-01T00:00:00+00:00"
CURSORS = {
    f"cursor of {name}": urlsafe_b64encode(json.dumps(parts).encode()).decode()
    for name, parts in {
        "infinity": [_WHEN, float("inf")],
        "huge": [_WHEN, 10**22],
        "NUL": [_WHEN, "\0"],
        "surrogate": [_WHEN, "\ud800"],
        "first year": ["0001-01-01T00:00:00+23:59", 1],
        "object": {"a": 1},
        "short": [1],
    }.items()
}
