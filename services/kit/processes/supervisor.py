"""`secondlook run`: every role as a process of its own, started again when it dies.

The supervisor holds what must outlive a role: the data folder's lock, PostgreSQL, and the
listening socket, which a web process that is started anew finds with its callers waiting.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

import structlog

from services.kit.errors import SecondlookError
from services.kit.processes.embedded_postgres import EmbeddedPostgres

_log = structlog.get_logger()

# PostgreSQL, which is no child of ours, is looked after so often; a role that ends is noticed at
# once.
_TURN_SECONDS = 0.5
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_STEADY_SECONDS = 10.0
_PATIENCE_SECONDS = 6.0
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_FORK = multiprocessing.get_context("fork")
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class PortTaken(SecondlookError):
    """Something else listens where we shall."""

    status = 503
    title = "The port is taken"


def bind(
    host: str,
    port: int,
    *,
    hint: str = "Stop what uses it, or choose another with --port or SECONDLOOK_PORT.",
) -> socket.socket:
    """Listen on `host` and `port` (0: a free one). `hint` goes with a refusal.

    Raises:
        PortTaken: something else does already, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise PortTaken(f"Cannot listen on {host}:{port}: {error.strerror}. {hint}") from None
    listening.listen(1024)
    return listening


@dataclass(slots=True)
class Process:
    """What a role does, and the process that does it now.

    The process is forked from the supervisor, which has imported everything: a role that
    died is back within milliseconds, and all roles share the memory of the code.
    """

    name: str
    work: Callable[[], None]
    process: BaseProcess | None = None
    started: float = 0.0
    pause: float = _SHORTEST_PAUSE
    next_start: float = field(default=0.0)

    def keep_up(self, now: float, let_go: Callable[[], None]) -> None:
        """Start the process where it is not there, soon at first, later with pauses.

        `let_go` is called in the new process: what is the supervisor's is not its own.
        """
        if self.process is not None and self.process.is_alive():
            return
        if self.process is not None:
            steady = now - self.started > _STEADY_SECONDS
            self.pause = _SHORTEST_PAUSE if steady else min(self.pause * 2, _LONGEST_PAUSE)
            _log.warning("role ended", name=self.name, code=self.process.exitcode)
            self.next_start, self.process = now + self.pause, None
        if now >= self.next_start:
            self.started = now
            self.process = _FORK.Process(target=_begin, args=(self.name, self.work, let_go))
            self.process.start()

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self.process is not None and self.process.is_alive():
            self.process.terminate()

    def end(self, deadline: float) -> None:
        """Wait until `deadline`, then end it by force."""
        if self.process is None:
            return
        self.process.join(max(0.05, deadline - time.monotonic()))
        if self.process.is_alive():
            _log.warning("role did not end in time", name=self.name)
            self.process.kill()
            self.process.join()


def _begin(name: str, work: Callable[[], None], let_go: Callable[[], None]) -> None:
    """A role's process: out of the terminal's reach, and gone when the supervisor is."""
    os.setsid()
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        _LIBC.prctl(_PR_SET_NAME, f"sl-{name}".encode())
    for sent in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sent, signal.SIG_DFL)
    let_go()
    work()


class Supervisor:
    """Keeps PostgreSQL and all roles running until it is told to stop."""

    def __init__(self, roles: Sequence[Process], postgres: EmbeddedPostgres | None) -> None:
        self._roles = roles
        self._postgres = postgres
        self._stopping = False

    def run(self, on_turn: Callable[[], None]) -> None:
        """Work until SIGTERM or SIGINT; then end every child within ten seconds."""
        for sent in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sent, self._stop)
        gc.freeze()
        try:
            while not self._stopping:
                self._turn()
                on_turn()
                self._rest()
        finally:
            self._end_all()

    def _rest(self) -> None:
        """Wait for the next turn, or until a role ends."""
        there = [one.process.sentinel for one in self._roles if one.process is not None]
        if there:
            wait(there, _TURN_SECONDS)
        else:
            time.sleep(_TURN_SECONDS)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _turn(self) -> None:
        try:
            if self._postgres is not None and self._postgres.ensure_running():
                _log.warning("PostgreSQL was gone and has been started again")
        except SecondlookError as error:
            _log.error("PostgreSQL does not start", error=error.detail)
        now = time.monotonic()
        for role in self._roles:
            role.keep_up(now, self._let_go)

    def _let_go(self) -> None:
        """In a new role's process: the data folder's lock is not its to hold."""
        if self._postgres is not None:
            self._postgres.abandon()

    def _end_all(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for role in self._roles:
            role.ask_to_end()
        for role in self._roles:
            role.end(deadline)


def own_address(listening: socket.socket, host: str) -> str:
    """The address that really listens, as a URL."""
    port = listening.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
