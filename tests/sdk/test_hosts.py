"""The SDK never hurts its host: whatever it is handed, wherever it runs."""

import itertools
import json
import logging
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secondlook import Decision, Secondlook, keys
from secondlook.events import decode, encode
from secondlook.testing import FakeSecondlook, a_policy

Eventually = Callable[..., None]


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError("str")


class Contrary(str):
    """A text that cannot be compared."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")


def a_fake(**policy: Any) -> FakeSecondlook:
    return FakeSecondlook(a_policy(**policy), on_invalid="record", safe_default="fallback")


def ask(look: Secondlook, **changes: Any) -> Decision:
    facts = {"output_id": "t-1", "kind": "category", "value": "refund", "confidence": 0.9}
    return look.output(**{**facts, **changes})


INVALID: list[dict[str, Any]] = [
    {"confidence": math.nan},
    {"confidence": np.float32("nan")},
    {"confidence": "0.9"},
    {"confidence": 1.5},
    {"value": None},
    {"value": "a\0"},
    {"value": Hostile()},
    {"kind": "score"},
    {"kind": None},
    {"output_id": ""},
    {"output_id": 7},
    {"output_id": 10**6000},
    {"output_id": None},
    {"output_id": "x" * 201},
    {"output_id": "\ud800"},
    {"output_id": Hostile()},
    {"attributes": {"plan": None}},
    {"attributes": {"amount": 1_200}},
    {"attributes": {"amount": 10**6000}},
    {"value": 10**6000},
    {"attributes": {7: "x"}},
    {"attributes": {"a\0": "x", "b": "\ud800"}},
    {"attributes": {f"a{n}": "x" for n in range(40)}},
    {"attributes": ["a"]},
    {"attributes": Hostile()},
    {"alternatives": 5},
    {"alternatives": [("a", 2.0)]},
    {"alternatives": range(10**12)},
    {"alternatives": itertools.repeat("a")},
    {"subject": 7},
    {"language": "klingon!"},
    {"url": "javascript:alert(1)"},
    {"model": 5},
    {"cohort": "x" * 201},
    {"latency_ms": math.nan},
    {"latency_ms": Hostile()},
    {"cost": {"amount": -1}},
    {"cost": 5},
    {"occurred_at": "yesterday"},
    {"value": "x" * 70_000, "kind": "text"},
    {"value": {f"f{n}": {"value": "x" * 60_000} for n in range(20)}, "kind": "fields"},
]


@pytest.mark.parametrize("changes", INVALID, ids=", ".join)
def test_an_output_that_is_not_valid_goes_to_a_person_and_raises_nothing(
    changes: dict[str, Any],
) -> None:
    look = a_fake()
    decision = ask(look, **{"input_text": "Where is my money?", "model": "m-1", **changes})
    assert (decision.disposition, decision.reason) == ("review", "invalid")
    assert look.outputs == []
    (failure,) = look.failures
    assert failure.error.kind == "invalid"
    assert "breaks the contract" in failure.error.message
    assert decode(encode(look.events[0])) == look.events[0]
    assert (look.stats().invalid, look.stats().dropped) == (1, 0)


def test_what_was_wrong_is_said_and_what_was_sound_is_kept() -> None:
    look = a_fake()
    ask(
        look,
        confidence=math.nan,
        attributes={"plan": None, "amount": 1_200, "requester": "ana"},
        input_text="Where is my money?",
        url="ftp://x",
        language="de",
        model="m-1",
        prompt=7,
        subject="ticket-1",
    )
    (failure,) = look.failures
    assert failure.output_id == "t-1"
    assert failure.subject == "ticket-1"
    assert failure.attributes == {"amount": "1200", "requester": "ana"}
    assert failure.input is not None
    assert (failure.input.text, failure.input.language) == ("Where is my money?", "de")
    assert failure.version is not None
    assert (failure.version.model, failure.version.prompt) == ("m-1", None)
    for named in ("/confidence", "/attributes/plan", "/input/url", "/version/prompt", '"refund"'):
        assert named in failure.error.message


def test_an_id_that_is_not_valid_stays_one_and_the_same() -> None:
    look = a_fake()
    for output_id in ("x" * 300, "x" * 300, "y" * 300, 7, 10**6000, 10**6000):
        ask(look, output_id=output_id)
    ids = [failure.output_id for failure in look.failures]
    assert ids[0] == ids[1] != ids[2]
    assert ids[3] == "7"
    assert ids[4] == ids[5]
    assert ids[4].startswith("invalid-")


@pytest.mark.parametrize(
    ("state", "disposition"), [("stopped", "stop"), ("fallback", "fallback"), ("live", "review")]
)
def test_a_tool_that_is_stopped_is_stopped_for_what_is_not_valid_too(
    state: str, disposition: str
) -> None:
    look = a_fake(state=state)
    assert ask(look, confidence=math.nan).disposition == disposition
    assert len(look.failures) == 1


def test_a_failure_that_is_not_valid_is_recorded_in_part() -> None:
    look = a_fake()
    look.failed("t-1", kind="boredom", message=ValueError("no\0 answer"), latency_ms=math.nan)  # type: ignore[arg-type]
    look.failed("t-2", kind="timeout", message=Hostile(), attributes={"a": None, "b": "c"})  # type: ignore[arg-type]
    look.failed("t-3", kind=Contrary("timeout"), message="late")
    first, second, third = look.failures
    assert (third.error.kind, third.error.message) == ("timeout", "late")
    assert (first.error.kind, first.error.message) == ("error", "no answer")
    assert (second.error.kind, second.error.message) == ("timeout", "Hostile")
    assert look.stats().dropped == 0


def test_words_of_people_that_are_not_valid_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    look = a_fake()
    assert look.correct("t-1", value="secret\0", actor="ana") is None
    assert look.confirm("", actor="ana") is None
    assert look.dispute("t-1", actor=7) is None  # type: ignore[arg-type]
    look.withdraw("t-1", correction_id="", actor="ana")
    assert look.events == []
    assert look.stats().dropped == 4
    assert "/value" in caplog.text
    assert "secret" not in caplog.text


def test_the_log_says_where_and_never_what(caplog: pytest.LogCaptureFixture) -> None:
    ask(a_fake(), value="secret\0", attributes={"plan": None})
    assert "/value" in caplog.text
    assert "secret" not in caplog.text


def test_what_raises_in_development_raises() -> None:
    look = FakeSecondlook(a_policy(), on_invalid="raise")
    with pytest.raises(ValueError, match="/confidence"):
        ask(look, confidence=math.nan)
    with pytest.raises(RuntimeError):
        ask(look, value=Hostile())
    assert look.events == []


def test_a_thread_that_can_not_start_raises_nothing_and_is_tried_again(
    server: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "secondlook":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    look = server.client()
    assert ask(look).reason == "no_policy"
    assert look.stats().queued == 1
    monkeypatch.undo()

    def recorded_later() -> bool:
        ask(look)
        return bool(look.stats().sent)

    eventually(recorded_later)
    assert look.close()
    assert set(server.ids) == {"t-1"}


def test_closing_without_threads_ends_soon_and_counts(
    down: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    without, with_folder = down.client(), down.client(spill_dir=tmp_path)
    for look in (without, with_folder):
        ask(look)
        assert not look.close()
    assert without.stats().dropped == 1
    assert with_folder.stats().spilled == 1


@pytest.mark.parametrize("act", ["200 html", "202 html", "404 html", "422 html", 200, 302])
def test_what_something_else_answers_counts_neither_as_sent_nor_as_refused(
    server: Any, act: int | str
) -> None:
    server.script = [act, act]
    with server.client() as look:
        assert look.wait_for_policy()
        ask(look)
        assert look.flush(15)
        stats = look.stats()
    assert (stats.sent, stats.refused, stats.dropped) == (1, 0, 0)
    assert server.ids == ["t-1"]


def test_what_is_too_large_for_something_on_the_way_is_sent_in_smaller_batches(
    server: Any,
) -> None:
    server.script = ["413 html"]
    with server.client() as look:
        assert look.wait_for_policy()
        for number in range(4):
            ask(look, output_id=f"t-{number}")
        assert look.flush(15)
        assert look.stats().sent == 4
    assert [len(batch) for batch in server.batches] in ([2, 2], [2, 1, 1], [1, 3], [4])


def test_a_redirect_is_named_and_not_followed(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server.script = [308]
    with server.client() as look:
        ask(look)
        assert look.flush(15)
    assert "308" in caplog.text


def test_an_address_is_trimmed(server: Any, tmp_path: Path) -> None:
    kept = tmp_path / "key"
    kept.write_bytes(b"\xef\xbb\xbf" + server.key.encode() + b"\r\n")
    env = {
        "SECONDLOOK_URL": f" {server.url}/ \r\n",
        "SECONDLOOK_KEY_FILE": f"{kept} ",
        "SECONDLOOK_ON_INVALID": "raise\n",
    }
    with Secondlook.from_env(env) as look:
        assert look.wait_for_policy()
        with pytest.raises(ValueError, match="/confidence"):
            ask(look, confidence=7)
    with Secondlook(f"{server.url}\n", f" {server.key}\n") as look:
        assert look.wait_for_policy()


def test_a_setting_that_is_only_white_space_is_not_set() -> None:
    with pytest.raises(ValueError, match="SECONDLOOK_URL is not set"):
        Secondlook.from_env({"SECONDLOOK_URL": " ", "SECONDLOOK_KEY": keys.generate()})


def test_events_are_whole_json_on_one_line(down: Any, tmp_path: Path) -> None:
    look = down.client(spill_dir=tmp_path)
    text = "a\u2028b\u2029c\u0085d\r\ne\x0bf\x1eg"
    ask(look, kind="text", value=text, input_text=text)
    look.close(0)
    (file,) = tmp_path.glob("held-*/*.jsonl")
    (line,) = file.read_bytes().split(b"\n")[:-1]
    assert json.loads(line)["data"]["input"]["text"] == text
