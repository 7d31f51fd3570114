"""The SDK in scripts that end at once, and in processes that fork."""

import subprocess
import sys
from typing import Any

SCRIPT = """
import sys
from secondlook import Secondlook
Secondlook(sys.argv[1], sys.argv[2]).output("t-1", kind="category", value="refund")
"""

FORKED_WITHOUT_THREADS = """
import os, resource, sys
from secondlook import Secondlook
look = Secondlook(sys.argv[1], sys.argv[2])
assert look.wait_for_policy()
pid = os.fork()
if pid == 0:
    import threading
    def refuse(thread):
        raise RuntimeError("can't start new thread")
    threading.Thread.start = refuse
    decision = look.output("t-1", kind="category", value="refund", confidence=0.9)
    os._exit(0 if decision.proceed else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def run(script: str, *arguments: str, **env: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, env=env or None)


def test_a_script_that_ends_after_its_first_output_has_sent_it(server: Any) -> None:
    done = run(SCRIPT, server.url, server.key)
    assert done.returncode == 0, done.stderr.decode()
    assert server.ids == ["t-1"]


def test_a_forked_child_without_threads_decides_all_the_same(server: Any) -> None:
    done = run(FORKED_WITHOUT_THREADS, server.url, server.key)
    assert done.returncode == 0, done.stderr.decode()


WAITS_AFTER_FORK = """
import os, sys
from secondlook import Secondlook
look = Secondlook(sys.argv[1], sys.argv[2])
pid = os.fork()
if pid == 0:
    os._exit(0 if look.wait_for_policy(20) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_forked_child_can_wait_for_the_policy(server: Any) -> None:
    server.longest_wait = 0.0
    done = run(WAITS_AFTER_FORK, server.url, server.key)
    assert done.returncode == 0, done.stderr.decode()


NOTHING_IMPORTED_LATER = """
import sys
from secondlook import Secondlook
before = set(sys.modules)
look = Secondlook(sys.argv[1], sys.argv[2])
assert look.wait_for_policy(20)
look.output("t-1", kind="category", value="refund", confidence=0.9)
look.output("t-2", kind="category", value=7)
assert look.flush(20)
later = set(sys.modules) - before
assert not later, later
"""


def test_threads_import_nothing_since_a_fork_would_leave_the_lock_of_it(server: Any) -> None:
    done = run(NOTHING_IMPORTED_LATER, server.url, server.key)
    assert done.returncode == 0, done.stderr.decode()


STALE_AFTER_FORK = """
import os, sys
from secondlook import Secondlook
look = Secondlook(sys.argv[1], sys.argv[2])
assert look.wait_for_policy()
pid = os.fork()
if pid == 0:
    age = look.stats().policy_age_seconds
    os._exit(0 if age is not None and age < 30 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_forked_child_knows_how_old_the_policy_is(server: Any) -> None:
    done = run(STALE_AFTER_FORK, server.url, server.key)
    assert done.returncode == 0, done.stderr.decode()


COUNTS_AFTER_FORK = """
import dataclasses, os, sys
from secondlook import Secondlook
look = Secondlook(sys.argv[1], sys.argv[2])
look.output("t-1", kind="flag", value="no flag")
pid = os.fork()
if pid == 0:
    counts = dataclasses.asdict(look.stats())
    os._exit(0 if not any(n for name, n in counts.items() if "policy" not in name) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_forked_child_counts_from_nothing(server: Any) -> None:
    done = run(COUNTS_AFTER_FORK, server.url, server.key)
    assert done.returncode == 0, done.stderr.decode()
