"""The gate policy comes from the server, stays fresh, and is believed only where it is genuine."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from secondlook import Decision, Secondlook, keys
from secondlook._poller import Confirmation
from secondlook.testing import NOON, a_policy

from tests.waiting import throughout

Eventually = Callable[..., None]


def ask(look: Secondlook) -> Decision:
    return look.output("t-1", kind="category", value="refund", confidence=0.9)


def test_without_a_policy_the_safe_default_holds(down: Any) -> None:
    look = down.client(safe_default="fallback")
    decision = ask(look)
    assert decision.fallback
    assert (decision.reason, decision.policy_revision) == ("no_policy", None)
    assert look.stats().policy_age_seconds is None
    look.close(0)


def test_the_policy_decides_as_soon_as_it_is_there(server: Any) -> None:
    with server.client() as look:
        assert look.wait_for_policy()
        assert ask(look).proceed
        assert look.stats().policy_revision == 1


def test_a_change_is_there_within_a_second(server: Any, eventually: Eventually) -> None:
    with server.client() as look:
        assert look.wait_for_policy()
        eventually(lambda: server.policy_asks >= 2)
        begun = time.monotonic()
        server.publish(a_policy(revision=2, state="stopped"))
        eventually(lambda: ask(look).stop)
        assert time.monotonic() - begun < 1.0
        assert server.policy_asks <= 4


@pytest.mark.parametrize(
    "policy",
    [a_policy(revision=1, state="stopped"), a_policy(revision=9, tool="another-tool")],
    ids=["older", "of another tool"],
)
def test_a_policy_that_does_not_fit_is_not_used(
    server: Any, eventually: Eventually, policy: Any
) -> None:
    server.publish(a_policy(revision=2))
    with server.client() as look:
        assert look.wait_for_policy()
        asked = server.policy_asks
        server.publish(policy)
        eventually(lambda: server.policy_asks >= asked + 2)
        assert look.stats().policy_revision == 2
        assert ask(look).proceed


@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b'{"policy":{},"signature":1}', b"\xff"])
def test_an_answer_that_is_no_policy_is_not_used(
    server: Any, eventually: Eventually, document: bytes
) -> None:
    server.serve_document(document)
    look = server.client()
    eventually(lambda: server.policy_asks >= 2)
    assert ask(look).reason == "no_policy"
    look.close(0)


def test_a_policy_signed_for_another_key_is_not_used(
    server: Any, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    server.publish(a_policy(), key=keys.generate())
    look = server.client()
    eventually(lambda: server.policy_asks >= 2)
    assert ask(look).reason == "no_policy"
    look.close(0)
    assert "signature is wrong" in caplog.text


def test_in_an_outage_the_last_policy_holds_and_shows_its_age(
    server: Any, eventually: Eventually
) -> None:
    look = server.client()
    assert look.wait_for_policy()
    server.stop()
    eventually(lambda: look.stats().policy_age_seconds >= 0.2)
    assert ask(look).proceed
    look.close(0)


def test_a_restart_in_an_outage_goes_on_with_the_kept_policy(
    server: Any, tmp_path: Path, eventually: Eventually
) -> None:
    kept = tmp_path / "policy.json"
    with server.client(spill_dir=tmp_path) as look:
        eventually(kept.exists)
        assert ask(look).proceed
    server.stop()
    os.utime(kept, (time.time() - 90, time.time() - 90))
    again = server.client(spill_dir=tmp_path)
    assert ask(again).proceed
    assert 80 < again.stats().policy_age_seconds < 120
    again.close(0)


def test_a_kept_policy_that_was_tampered_with_is_not_used(
    server: Any, tmp_path: Path, eventually: Eventually
) -> None:
    kept = tmp_path / "policy.json"
    with server.client(spill_dir=tmp_path):
        eventually(kept.exists)
    server.stop()
    kept.write_bytes(kept.read_bytes().replace(b"0.7", b"0.0"))
    again = server.client(spill_dir=tmp_path)
    assert ask(again).reason == "no_policy"
    again.close(0)


def test_a_server_that_answers_at_once_is_not_asked_without_end(server: Any) -> None:
    server.longest_wait = 0.0
    with server.client() as look:
        assert look.wait_for_policy()
        throughout(1.2, lambda: server.policy_asks <= 4)
        assert server.policy_asks >= 2


def test_a_restored_server_is_obeyed_though_its_revisions_begin_again(
    server: Any, eventually: Eventually
) -> None:
    server.publish(a_policy(revision=9, epoch="before"))
    with server.client() as look:
        assert look.wait_for_policy()
        assert ask(look).proceed
        server.publish(a_policy(revision=2, epoch="after", state="stopped"))
        eventually(lambda: ask(look).stop)
        assert look.stats().policy_revision == 2


def test_a_server_whose_folder_was_put_back_is_obeyed(server: Any, eventually: Eventually) -> None:
    """Its epoch is that of before; what tells is which policy came into force later."""
    server.publish(a_policy(revision=9))
    with server.client() as look:
        assert look.wait_for_policy()
        later = NOON + timedelta(hours=1)
        server.publish(a_policy(revision=4, state="stopped", effective_at=later))
        eventually(lambda: ask(look).stop)
        assert look.stats().policy_revision == 4


def test_a_kept_policy_of_another_epoch_gives_way(
    server: Any, tmp_path: Path, eventually: Eventually
) -> None:
    kept = tmp_path / "policy.json"
    server.publish(a_policy(revision=9, epoch="before"))
    with server.client(spill_dir=tmp_path):
        eventually(kept.exists)
    server.publish(a_policy(revision=2, epoch="after", state="stopped"))
    with server.client(spill_dir=tmp_path) as again:
        eventually(lambda: ask(again).stop)


def test_a_policy_that_nobody_confirms_gives_way_to_the_safe_default(
    server: Any, tmp_path: Path, eventually: Eventually
) -> None:
    kept = tmp_path / "policy.json"
    server.publish(a_policy(max_stale_seconds=60))
    with server.client(spill_dir=tmp_path) as look:
        eventually(kept.exists)
        assert ask(look).proceed
    server.stop()
    os.utime(kept, (time.time() - 90, time.time() - 90))
    again = server.client(spill_dir=tmp_path, safe_default="fallback")
    assert (ask(again).disposition, ask(again).reason) == ("fallback", "stale")
    server.start()
    eventually(lambda: ask(again).proceed)
    again.close(0)


def test_a_kept_policy_tells_when_it_was_last_confirmed(
    server: Any, tmp_path: Path, eventually: Eventually
) -> None:
    kept = tmp_path / "policy.json"
    server.longest_wait = 0.1
    with server.client(spill_dir=tmp_path):
        eventually(kept.exists)
        os.utime(kept, (0, 0))
        eventually(lambda: kept.stat().st_mtime > time.time() - 60)


def test_a_policy_that_asks_for_more_than_is_known_here_leads_to_the_safe_default(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.publish(a_policy(critical=["rollout"]))
    with server.client(safe_default="fallback") as look:
        assert look.wait_for_policy()
        assert (ask(look).disposition, ask(look).reason) == ("fallback", "sdk_outdated")
    assert "rollout" in caplog.text


@pytest.mark.parametrize("status", [429, 503])
def test_the_policy_is_asked_for_no_sooner_than_the_server_wants(
    server: Any, status: int, eventually: Eventually
) -> None:
    server.policy_script = [status]
    with server.client() as look:
        assert look.wait_for_policy(10)
    assert server.asked_at[1] - server.asked_at[0] >= 1.0


def test_a_clock_that_jumps_back_makes_no_policy_younger(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    confirmed = Confirmation(now - 100)
    monkeypatch.setattr(time, "time", lambda: now - 3_600)
    assert 100 <= confirmed.age() < 110
    monkeypatch.setattr(time, "time", lambda: now + 3_600)
    assert 3_700 <= confirmed.age() < 3_710
