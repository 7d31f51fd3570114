"""Three engines, each a process of its own, that can be killed and frozen."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from services.kit.database import Database
from tests.factories import one

_ROOT = Path(__file__).parent.parent.parent
_FROZEN = "engine 1"
# What it has changed, nobody else can get at.
_HOLDS = """
SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
WHERE a.application_name = :name AND a.datname = current_database()
    AND a.state = 'idle in transaction' AND l.relation = 'timer'::regclass
    AND l.mode = 'RowExclusiveLock'
"""
_TRIES = 100


class Engines:
    """They fire; the first can be killed, the second frozen."""

    def __init__(self, url: str, every: float) -> None:
        self._url, self._every = url, str(every)
        self._running = [self._start(n) for n in range(3)]

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        given = [self._url, self._every, f"engine {number}"]
        command = [sys.executable, "-m", "tests.engines.engine", *given]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=_ROOT, stdout=quiet, stderr=quiet)

    def kill(self) -> None:
        """End one in the middle of what it does; another one is started in its place later."""
        self._running[0].kill()
        self._running[0].wait()

    def replace(self) -> None:
        """Start one for the one that was killed."""
        self._running[0] = self._start(0)

    def freeze(self, database: Database) -> bool:
        """Stop one as a debugger would, while it holds timers where it comes to that soon.

        Answers whether it does.
        """
        for _ in range(_TRIES):
            assert self._running[1].poll() is None, "the engine to be frozen has ended"
            os.kill(self._running[1].pid, signal.SIGSTOP)
            time.sleep(0.02)  # for what the server is just doing for it
            if one(database, _HOLDS, name=_FROZEN):
                return True
            os.kill(self._running[1].pid, signal.SIGCONT)
            time.sleep(0.03)
        os.kill(self._running[1].pid, signal.SIGSTOP)
        return False

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._running[1].pid, signal.SIGCONT)

    def all_run(self) -> bool:
        """Whether none has ended by itself."""
        return all(process.poll() is None for process in self._running)

    def end(self) -> None:
        """End all."""
        for process in self._running:
            process.kill()
            process.wait()
