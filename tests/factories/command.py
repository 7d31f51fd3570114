"""The command `secondlook` in a process of its own, without the second that its imports take."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", "services.cli"])


def secondlook(*arguments: str, seconds: float = 60) -> "subprocess.CompletedProcess[str]":
    """A command that has ended, run with this process's environment.

    Raises:
        subprocess.TimeoutExpired: it had not ended after so many seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = _PROCESSES.Process(
            target=_run, args=(arguments, dict(os.environ), str(out), str(err))
        )
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["secondlook", *arguments], seconds)
        return subprocess.CompletedProcess(
            ["secondlook", *arguments], process.exitcode, out.read_text(), err.read_text()
        )


def _run(arguments: Sequence[str], environment: Mapping[str, str], out: str, err: str) -> None:
    """In the new process: take on the environment and the streams, then run."""
    from services.cli import main

    os.environ.clear()
    os.environ.update(environment)
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        with open(path, "wb") as file:  # noqa: PTH123 - a descriptor is wanted
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = ["secondlook", *arguments]
    main()
