"""What routing one case costs with as many rules as a policy may sensibly have.

`python -m benchmarks.routing_rules` prints the figures: CPU of the calling thread, case by case, so
that a busy machine matters little.
"""

import random
import time
from collections.abc import Iterator
from typing import Any

from secondlook import events

from benchmarks.table import Row
from services.escalation.policy.facts import facts_of_review
from services.escalation.policy.model import RoutingPolicy
from tests.factories import NOON

RULES, CASES = 500, 5_000
_WORDS = ("billing", "refund", "card", "transfer", "login", "tax", "travel", "fees")
_TRIGGERS = ("low_confidence", "dispute", "tool_failure", "policy")


def policy(rules: int = RULES) -> RoutingPolicy:
    """Rules of two to four clauses, each with a pattern or a bound; few of them match a case."""
    return RoutingPolicy.model_validate(
        {
            "version": 1,
            "catch_all": {"team": "triage", "sla": {"claim": "4h", "resolve": "2bd"}},
            "rules": [_rule(n) for n in range(rules)],
            "ladders": {"one": [{"at": "0m", "own": "team:triage"}]},
        }
    )


def _rule(n: int) -> dict[str, Any]:
    word = _WORDS[n % len(_WORDS)]
    clauses: list[dict[str, Any]] = [
        {"predicted.category": f"{word}/{n % 97}*", "attributes.plan": "gold"},
        {"trigger": ["dispute", "policy"], "confidence": {"lt": 0.001 * (n % 50)}},
        {"tool": f"tool-{n}", "predicted.category": f"*/{n}", "language": ["en", "de"]},
        {"attributes.amount": {"gt": 10_000 + n}, "cohort": "pilot", "kind": "category"},
    ]
    return {
        "id": f"rule-{n}",
        "mode": "monitor" if n % 10 == 9 else "active",
        "when": clauses[n % len(clauses)],
        "owner": {"team": f"team-{n % 20}"},
        "escalate": "one",
    }


def requests(count: int) -> Iterator[events.ReviewRequest]:
    """Made-up cases, the same each time."""
    chance = random.Random(7)
    for n in range(count):
        output = {
            "kind": "category",
            "value": f"{chance.choice(_WORDS)}/{chance.randrange(100)}",
            "confidence": chance.random(),
            "input": {"text": "", "language": chance.choice(("en", "fr"))},
            "attributes": {"plan": "free", "amount": str(chance.randrange(9_000))},
            "version": {"model": "m-1"},
        }
        yield events.ReviewRequest.model_validate(
            {
                "tool": "categoriser",
                "output_id": f"o-{n}",
                "trigger": chance.choice(_TRIGGERS),
                "output": output,
                "at": NOON,
            }
        )


def rows() -> list[Row]:
    """p50 and p99 of routing one case, its facts taken from the request for a review."""
    wanted, spent = policy(), []
    for request in list(requests(CASES)):
        begun = time.thread_time()
        wanted.route(facts_of_review(request))
        spent.append((time.thread_time() - begun) * 1_000)
    spent.sort()
    what = f"routing one case, {RULES} rules"
    return [
        Row(f"{what}, p50", spent[len(spent) // 2], "ms"),
        Row(f"{what}, p99", spent[int(len(spent) * 0.99)], "ms", 1, "aim"),
    ]


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what}: {row.value:.3f} {row.unit}")
