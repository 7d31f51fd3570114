"""Who gives verdicts during a campaign, and rearranges cases.

They ask again under the same key until they are answered, and keep in the ledger what was
acknowledged and what nobody knows of.
"""

import random
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from tests.conservation.ledger import Ledger
from tests.factories import CATEGORIES, TEAM

_TIMEOUT = 15.0
# What is done to an open case, unless another state is named.
_ARRANGING = ("merge", "unmerge", "snooze", "escalate", "reassign", "undo", "reopen")
_STATES = {"unmerge": "merged", "undo": "resolved", "reopen": "resolved"}


def _soon(draw: random.Random) -> str:
    return (datetime.now(UTC) + timedelta(seconds=draw.uniform(1, 20))).isoformat()


def _listed(client: httpx2.Client, narrowed: str) -> list[dict[str, Any]]:
    """Such cases; none while the server cannot say."""
    answer = client.get(f"/v1/cases?{narrowed}")
    return list(answer.json()["items"]) if answer.status_code == 200 else []


@dataclass
class Owner:
    """Somebody who takes cases, reviews most of them, and lets some lie."""

    address: str
    email: str
    token: str
    ledger: Ledger
    lock: threading.Lock
    seed: int
    stopping: threading.Event = field(default_factory=threading.Event)
    problems: list[str] = field(default_factory=list)

    def start(self) -> threading.Thread:
        """Begin to work."""
        thread = threading.Thread(target=self._work)
        thread.start()
        return thread

    def _work(self) -> None:
        draw = random.Random(self.seed)
        with httpx2.Client(
            base_url=self.address,
            timeout=_TIMEOUT,
            headers={"Authorization": f"Bearer {self.token}"},
        ) as client:
            while not self.stopping.wait(draw.uniform(0.05, 0.4)):
                with suppress(httpx2.HTTPError):
                    self._one_case(client, draw)

    def _one_case(self, client: httpx2.Client, draw: random.Random) -> None:
        cases = _listed(client, "limit=50&state=open")
        if not cases:
            return
        case = draw.choice(cases)
        if case["subject"]["kind"] == "incident" and draw.random() < 0.7:
            self._all_of(client, draw, case)
            return
        if draw.random() < 0.2:
            self._rearrange(client, draw, cases)
            return
        taken = client.post(f"/v1/cases/{case['id']}/claim")
        if taken.status_code != 200:
            return
        token, what = taken.json()["token"], draw.random()
        if what < 0.1:
            return  # and never comes back to it: the lease ends
        if what < 0.2:
            client.post(f"/v1/cases/{case['id']}/release", json={"token": token})
            return
        if what < 0.25:
            later = {"token": token, "until": _soon(draw), "reason": "the bank"}
            client.post(f"/v1/cases/{case['id']}/wait", json=later)
            return
        if what < 0.35:
            note = {"token": token, "note": "hm"}
            client.post(f"/v1/cases/{case['id']}/comment", json=note)
        self._review(client, draw, taken.json()["case"], token)

    def _all_of(self, client: httpx2.Client, draw: random.Random, case: dict[str, Any]) -> None:
        """One verdict on what is part of an incident, under a key as any other."""
        parts = _listed(client, f"incident={case['id']}&state=merged&limit=200")
        ids = [part["id"] for part in parts]
        if not ids:
            return
        body = {"verb": "verdict", "ids": ids, "body": {"verdict": "upheld"}}
        headers = {"Idempotency-Key": f"all-{case['id']}-{draw.random()}"}
        with self.lock:
            entries = {id_: self.ledger.verdict(id_, self.email) for id_ in ids}
        while not self.stopping.is_set():
            try:
                answer = client.post("/v1/cases/bulk", json=body, headers=headers)
            except httpx2.HTTPError:
                self.stopping.wait(0.2)
                continue
            if answer.status_code == 200:
                for id_ in answer.json()["done"]:
                    entries[id_].times += 1
                return
            if answer.status_code < 500:
                self.problems.append(f"a bulk was answered {answer.status_code}: {answer.text}")
                return
            self.stopping.wait(0.2)
        for entry in entries.values():
            entry.unanswered += 1

    def _rearrange(
        self, client: httpx2.Client, draw: random.Random, cases: Sequence[dict[str, Any]]
    ) -> None:
        """Move a case about, or take something back; who may not is refused."""
        what = draw.choice(_ARRANGING)
        if what in _STATES:
            cases = _listed(client, f"state={_STATES[what]}&limit=50") or cases
        case, other = draw.choice(cases), draw.choice(cases)
        body: dict[str, Any] = {
            "merge": {"into": other["id"]},
            "snooze": {"until": _soon(draw), "reason": "later"},
            "escalate": {"level": case["level"]},
            "reassign": {"owner": {"kind": "team", "id": TEAM}},
        }.get(what, {})
        answer = client.post(f"/v1/cases/{case['id']}/{what}", json=body)
        if answer.status_code >= 500 and answer.status_code != 503:
            self.problems.append(f"{what} was answered {answer.status_code}: {answer.text}")

    def _review(
        self, client: httpx2.Client, draw: random.Random, case: dict[str, Any], token: str
    ) -> None:
        """Give a verdict, under a key so that asking again cannot give it twice."""
        own = case["output"].get("value")
        body: dict[str, Any] = {"token": token, "verdict": "upheld"}
        if own is None or draw.random() < 0.5:
            others = [category for category in CATEGORIES if category != own]
            body |= {"verdict": "corrected", "value": draw.choice(others)}
        headers = {"Idempotency-Key": f"{case['id']}-{token}"}
        with self.lock:
            entry = self.ledger.verdict(case["id"], self.email)
        while not self.stopping.is_set():
            try:
                answer = client.post(f"/v1/cases/{case['id']}/verdict", json=body, headers=headers)
            except httpx2.HTTPError:
                self.stopping.wait(0.2)
                continue
            if answer.status_code == 200:
                # One opinion of two decides nothing yet.
                entry.times += answer.json()["state"] == "resolved"
                return
            # 403: what they decided before was appealed since they took the case.
            if answer.status_code in (403, 409):
                return
            if answer.status_code < 500:
                self.problems.append(f"a verdict was answered {answer.status_code}: {answer.text}")
                return
            self.stopping.wait(0.2)
        entry.unanswered += 1
