"""Events reach the server through every failure of it, and the tool notices none."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from secondlook import AsyncSecondlook, Secondlook, Stats

Eventually = Callable[..., None]


def record(look: Secondlook, count: int, *, start: int = 0) -> list[str]:
    ids = [f"t-{number}" for number in range(start, start + count)]
    for output_id in ids:
        look.output(output_id, kind="category", value="refund", confidence=0.9)
    return ids


def assert_adds_up(stats: Stats) -> None:
    assert stats.taken == (
        stats.queued + stats.spilled + stats.sent + stats.refused + stats.dropped
    )


def test_sends_whole_events_in_batches(server: Any) -> None:
    with server.client() as look:
        ids = record(look, 1_200)
        assert look.flush(10)
        assert look.stats().sent == 1_200
    assert server.ids == ids
    assert max(map(len, server.batches)) <= 500
    assert len(server.batches) <= 20
    event = server.batches[0][0]
    assert event["source"] == "/tools/ticket-categoriser"
    assert event["subject"] == event["data"]["output_id"]
    assert server.authorizations == {f"Bearer {server.key}"}


def test_recording_neither_raises_nor_waits_while_the_server_is_down(
    down: Any, eventually: Eventually
) -> None:
    with down.client() as look:
        took = []
        for number in range(3_000):
            begun = time.perf_counter()
            record(look, 1, start=number)
            took.append(time.perf_counter() - begun)
        # Threads that take turns stop each other for some milliseconds; the network would for more.
        assert sorted(took)[-30] < 0.05
        assert look.stats().queued == 3_000
        assert look.stats().sent == 0
        down.start()
        eventually(lambda: look.stats().sent == 3_000)
    assert down.ids == [f"t-{number}" for number in range(3_000)]


def test_a_server_that_hangs_does_not_hold_the_tool(server: Any) -> None:
    with server.client(timeout=0.3) as look:
        assert look.wait_for_policy()
        server.script = ["hang", "hang"]
        ids = record(look, 5)
        begun = time.perf_counter()
        record(look, 1, start=5)
        assert time.perf_counter() - begun < 0.1
        assert look.flush(10)
    assert server.ids == [*ids, "t-5"]


@pytest.mark.parametrize("act", [500, 503, 401, "cut"])
def test_tries_again_after(server: Any, act: int | str) -> None:
    server.retry_after = "0"
    server.script = [act, act]
    with server.client() as look:
        ids = record(look, 3)
        assert look.flush(15)
        assert look.stats().refused == 0
    assert server.ids == ids


def test_waits_as_long_as_429_asks(server: Any) -> None:
    server.script = [429]
    with server.client() as look:
        record(look, 3)
        assert look.flush(10)
    assert server.posted_at[1] - server.posted_at[0] >= 1.0


def test_an_answer_that_is_lost_leads_to_a_resend_under_the_same_id(server: Any) -> None:
    server.script = ["drop"]
    with server.client() as look:
        record(look, 3)
        assert look.flush(10)
        assert look.stats().sent == 3
    events = Counter(event["id"] for batch in server.batches for event in batch)
    assert sorted(events.values()) == [2, 2, 2]


def test_a_kept_alive_connection_that_was_closed_is_no_outage(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.close_after_answer = True
    with server.client() as look:
        for number in range(5):
            record(look, 1, start=number)
            assert look.flush(5)
    assert len(server.batches) == 5
    assert "can't be sent" not in caplog.text


def test_one_refused_event_does_not_keep_the_others_back(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as look:
        assert look.wait_for_policy()
        first = look.correct("c-1", value="secret", actor="ana")
        server.refused_ids = {first}
        ids = record(look, 99)
        assert look.flush(10)
        stats = look.stats()
    assert (stats.sent, stats.refused, stats.dropped) == (99, 1, 0)
    assert server.ids == ids
    assert "/0/data/value" in caplog.text
    assert "private" not in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("named", [True, False])
def test_many_refused_events_cost_few_requests_where_the_server_names_them(
    down: Any, named: bool
) -> None:
    down.names_refused = named
    with down.client() as look:
        words = [look.correct(f"c-{n}", value="other", actor="ana") for n in range(100)]
        down.refused_ids = set(words[::3])
        down.start()
        assert look.flush(10)
        stats = look.stats()
    assert (stats.sent, stats.refused, stats.dropped) == (66, 34, 0)
    taken = [event["id"] for batch in down.batches for event in batch]
    assert taken == [word for word in words if word not in down.refused_ids]
    assert (len(down.posted_at) < 10) == named


def test_a_full_buffer_drops_the_newest_counts_it_and_says_so_once(
    down: Any, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    with down.client(buffer_size=700) as look:
        record(look, 1_500)
        stats = look.stats()
        assert_adds_up(stats)
        assert stats.dropped == 1_500 - stats.queued
        assert 700 <= stats.queued <= 700 + 500
        down.start()
        eventually(lambda: look.stats().queued == 0)
    # What came first is there; where the sender took a batch meanwhile, there was room again.
    numbers = [int(name.removeprefix("t-")) for name in down.ids]
    assert numbers[:700] == list(range(700))
    assert numbers == sorted(set(numbers))
    assert len(numbers) == stats.queued
    assert caplog.text.count("events are being dropped") == 1


def test_the_buffer_is_bounded_in_bytes(down: Any) -> None:
    look = down.client()
    for number in range(1_500):
        look.output(f"t-{number}", kind="text", value="x" * 60_000)
    stats = look.stats()
    assert stats.queued * 60_000 < 70_000_000
    assert stats.dropped == 1_500 - stats.queued > 0
    look.close(0)


def test_closing_in_an_outage_drops_what_is_left_and_says_so(
    down: Any, caplog: pytest.LogCaptureFixture
) -> None:
    look = down.client()
    record(look, 10)
    begun = time.monotonic()
    assert not look.close(0.2)
    assert time.monotonic() - begun < 5
    assert look.stats().dropped == 10
    assert "10 events" in caplog.text
    assert_adds_up(look.stats())


def test_closing_while_a_request_hangs_returns_soon(server: Any) -> None:
    look = server.client()
    assert look.wait_for_policy()
    server.script = ["hang"] * 5
    record(look, 10)
    begun = time.monotonic()
    look.close(0.3)
    assert time.monotonic() - begun < 4
    assert look.stats().dropped == 10


def test_closing_twice_and_recording_afterwards_do_no_harm(server: Any) -> None:
    look = server.client()
    record(look, 1)
    assert look.close()
    assert look.close()
    record(look, 1, start=1)
    assert look.stats().dropped == 1
    assert look.output("late", kind="category", value="refund", confidence=0.9).proceed


def test_asyncio_records_at_once_and_waits_only_to_end(server: Any) -> None:
    async def work() -> Stats:
        async with AsyncSecondlook(server.url, server.key) as look:
            for number in range(20):
                look.output(f"t-{number}", kind="category", value="refund", confidence=0.9)
            assert await look.flush()
            return look.stats()

    assert asyncio.run(work()).sent == 20
    assert len(server.ids) == 20


def test_neither_log_nor_repr_shows_the_key(down: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    look = down.client()
    record(look, 3)
    look.close(0.5)
    shown = caplog.text + repr(look) + repr(vars(look)) + repr(vars(look._engine))
    assert down.key not in shown
    assert down.key.split("_")[2] not in shown
