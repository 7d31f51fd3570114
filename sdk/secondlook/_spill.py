"""Events kept in a folder while the server can't be reached.

Each process has a folder of its own inside the one that is given, held by a file lock; a segment
in it is one batch, written whole and synced before it counts. Folders that no process holds any
more are adopted, so that a restart loses nothing; not on Windows, which has no such locks.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_PREFIX = "held-"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Segment:
    """One batch on disk."""

    path: Path
    size: int
    count: int


class Spill:
    """Segments on disk, oldest first. Not safe for threads: the backlog's lock guards it."""

    def __init__(self, folder: Path, *, most_bytes: int, adopt: bool) -> None:
        """Use the folder, and adopt what earlier processes left there if asked to.

        Raises:
            OSError: the folder can't be made or written to.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"the spill folder {folder} can't be written to")
        self._folder = folder
        self._most_bytes = most_bytes
        self._segments: deque[Segment] = deque()
        self._bytes = 0
        self._adopted: list[Path] = []
        self._locks: list[int] = []
        self._own: Path | None = None
        self._next = 0
        if adopt:
            self._adopt()

    @property
    def count(self) -> int:
        """How many events wait on disk."""
        return sum(segment.count for segment in self._segments)

    def has_room(self, size: int) -> bool:
        """Whether that many bytes more stay within the limit."""
        return self._bytes + size <= self._most_bytes

    def name_next(self) -> Path:
        """Where the next segment goes; makes this process's folder if there is none yet.

        Raises:
            OSError: the folder can't be made.
        """
        if self._own is None:
            self._own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._folder))
            self._lock(self._own)
        self._next += 1
        return self._own / f"{self._next:010}.jsonl"

    def add(self, segment: Segment) -> None:
        """Count a segment that has been written."""
        self._segments.append(segment)
        self._bytes += segment.size

    def take(self) -> Segment | None:
        """The oldest segment; it stays on disk until `forget`."""
        if not self._segments:
            return None
        segment = self._segments.popleft()
        self._bytes -= segment.size
        return segment

    def put_back(self, segment: Segment) -> None:
        """Make a segment that was taken the oldest again."""
        self._segments.appendleft(segment)
        self._bytes += segment.size

    def close(self) -> None:
        """Let go of the folders; those that are empty are removed."""
        for folder in (*self._adopted, *filter(None, [self._own])):
            if not any(folder.glob("*.jsonl")):
                shutil.rmtree(folder, ignore_errors=True)
        self.let_go()

    def let_go(self) -> None:
        """Close the lock files; a forked child does it so as not to hold its parent's folder."""
        while self._locks:
            os.close(self._locks.pop())

    def _adopt(self) -> None:
        for left in sorted(self._folder.glob(f"{_PREFIX}*"), key=_age):
            if self._lock(left):
                self._adopted.append(left)
                for segment in _segments_in(left):
                    self.add(segment)

    def _lock(self, folder: Path) -> bool:
        """Hold a folder for as long as this process lives; False where another one does."""
        if sys.platform == "win32":
            return False
        try:
            handle = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._locks.append(handle)
        return True


def write(path: Path, lines: Sequence[bytes]) -> Segment:
    """Write a segment and wait until it is on disk; nothing of it counts before.

    Raises:
        OSError: there is no room, or the folder is gone.
    """
    raw = b"".join(line + b"\n" for line in lines)
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError:
        forget(part)
        raise
    _sync_folder(path.parent)
    return Segment(path, len(raw), len(lines))


def read(segment: Segment) -> list[bytes]:
    """The lines of a segment; none where the file is gone."""
    try:
        return segment.path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return []


def forget(path: Path) -> None:
    """Remove a segment, whether or not it is still there."""
    with contextlib.suppress(OSError):
        path.unlink()


def _segments_in(folder: Path) -> Iterator[Segment]:
    for path in sorted(folder.glob("*.jsonl")):
        with contextlib.suppress(OSError):
            raw = path.read_bytes()
            yield Segment(path, len(raw), raw.count(b"\n"))


def _age(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a power cut, where the platform can sync a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
