"""The people around the tool, simulated: reps who notice some mistakes, owners who review.

They know the right category of every ticket and reach Secondlook as real people would,
over its API. What each of them does follows from the ticket's name and the seed, so two
runs over the same tickets give the same words whatever the machine does meanwhile.
"""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
from secondlook import Secondlook

_NOTICES_A_MISTAKE = 0.55
_DISPUTES_IT = 0.2
_CONFIRMS = 0.1
_CONFLICT, _OK = 409, 200


def chance(seed: int, *names: str) -> float:
    """A number in [0, 1) that is always the same for the same names."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


@dataclass(slots=True)
class Rep:
    """A support rep who reads tickets that the tool has sorted and speaks up now and then."""

    look: Secondlook
    email: str
    seed: int
    seconds: float = 0.0

    def read(self, output_id: str, *, said: str, right: str) -> None:
        """See how the tool sorted a ticket, and perhaps say something about it."""
        if said == right:
            if chance(self.seed, "confirm", output_id) < _CONFIRMS:
                took = 2 + 3 * chance(self.seed, "took", output_id)
                self.look.confirm(output_id, actor=self.email, active_seconds=took)
                self.seconds += took
        elif chance(self.seed, "notice", output_id) < _NOTICES_A_MISTAKE:
            took = 6 + 12 * chance(self.seed, "took", output_id)
            self.seconds += took
            if chance(self.seed, "dispute", output_id) < _DISPUTES_IT:
                note = "This was sorted wrongly, I think."
                self.look.dispute(output_id, actor=self.email, note=note)
            else:
                self.look.correct(output_id, value=right, actor=self.email, active_seconds=took)


def _verdict(value: str | None) -> dict[str, str]:
    """The verdict that a value is right, or what the tool said where there is none."""
    return {"verdict": "upheld"} if value is None else {"verdict": "corrected", "value": value}


class Owners:
    """The team that reviews cases, several at once, each under a token of their own."""

    def __init__(self, url: str, tokens: list[str], tool: str, *, seed: int) -> None:
        self._clients = [
            httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
            for token in tokens
        ]
        self._tool, self._seed = tool, seed
        self.seconds = 0.0

    def open_cases(self, **narrowed: str) -> list[dict[str, Any]]:
        """The cases that wait, the soonest due first."""
        return [case for case in self._cases(**narrowed) if case["state"] == "open"]

    def _cases(self, **narrowed: str) -> list[dict[str, Any]]:
        asked = {"tool": self._tool, "limit": "200", **narrowed}
        answer = self._clients[0].get("/v1/cases", params=asked)
        answer.raise_for_status()
        return list(answer.json()["items"])

    def work(
        self,
        right: Mapping[str, str],
        on_done: Callable[[], None],
        *,
        most: int = 200,
        **narrowed: str,
    ) -> int:
        """Review up to `most` open cases by the right categories, and what is part of incidents;
        answers how many were there."""
        open_cases = self.open_cases(**narrowed)
        cases = [case for case in open_cases if case["output_id"] in right][:most]
        incidents = [case["id"] for case in open_cases if case["subject"]["kind"] == "incident"]
        with ThreadPoolExecutor(len(self._clients)) as threads:
            shares = [cases[start :: len(self._clients)] for start in range(len(self._clients))]
            list(threads.map(self._share, self._clients, shares, [right] * len(shares)))
        cases += [part for id_ in incidents for part in self._review_incident(id_, right)]
        for case in cases:
            self.seconds += 20 + 50 * chance(self._seed, "review", case["output_id"])
            on_done()
        return len(cases)

    def _review_incident(self, incident: int, right: Mapping[str, str]) -> list[dict[str, Any]]:
        """Review what is part of an incident, those of one verdict together; answers them."""
        parts = self._cases(incident=str(incident), state="merged")
        known = [part for part in parts if part["output_id"] in right]
        together: dict[str | None, list[int]] = {}
        for part in known:
            value = right[part["output_id"]]
            upheld = part["output"].get("value") == value
            together.setdefault(None if upheld else value, []).append(part["id"])
        for verdict, ids in together.items():
            body = {"verb": "verdict", "ids": ids, "body": _verdict(verdict)}
            self._clients[0].post("/v1/cases/bulk", json=body).raise_for_status()
        return known

    def _share(
        self, client: httpx2.Client, cases: list[dict[str, Any]], right: Mapping[str, str]
    ) -> None:
        for case in cases:
            self._review(client, case, right[case["output_id"]])

    def _review(self, client: httpx2.Client, case: dict[str, Any], right: str) -> None:
        claimed = client.post(f"/v1/cases/{case['id']}/claim")
        if claimed.status_code == _CONFLICT:
            return
        claimed.raise_for_status()
        token = claimed.json()["token"]
        verdict = _verdict(None if case["output"].get("value") == right else right)
        given = client.post(f"/v1/cases/{case['id']}/verdict", json={"token": token, **verdict})
        given.raise_for_status()

    def close(self) -> None:
        """Let go of the connections."""
        for client in self._clients:
            client.close()
