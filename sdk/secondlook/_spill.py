"""Events kept in a folder until the server has them.

Each process has a folder of its own inside the one that is given, held by a file lock; a segment
in it is the events of one batch, a line each, written as they are recorded. The operating system
has them then, and a process that is killed loses none. Folders that no process holds any more are
adopted, so that a restart loses nothing; not on Windows, which has no such locks.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_PREFIX = "held-"
_LOCK = "lock"


class SegmentFile:
    """One segment on disk; the newest is open, to be added to."""

    def __init__(
        self, path: Path, *, size: int = 0, count: int = 0, handle: int | None = None
    ) -> None:
        """Name a file that is there; `handle` is open where it may be added to."""
        self.path = path
        self.size = size
        self.count = count
        self._handle = handle
        self._synced = 0

    def append(self, item: bytes) -> None:
        """Write one more event, whole or not at all.

        Raises:
            OSError: there is no room, or the folder is gone.
        """
        if self._handle is None:
            raise OSError(f"{self.path} is closed")
        line = item + b"\n"
        try:
            _write_whole(self._handle, line)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self.size)
            raise
        self.size += len(line)
        self.count += 1

    def seal(self) -> None:
        """Add nothing more."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                os.close(handle)

    def sync(self) -> None:
        """Make what has been written outlive a power cut, where the platform can."""
        if self._synced == self.size:
            return
        size = self.size
        with contextlib.suppress(OSError):
            _sync(self.path)
            _sync(self.path.parent)
            self._synced = size

    def read(self) -> list[bytes]:
        """The events; a line cut short was never recorded.

        Raises:
            OSError: the file is gone or can't be read.
        """
        return self.path.read_bytes().split(b"\n")[:-1]

    def remove(self) -> None:
        """Remove the file, whether or not it is still there."""
        self.seal()
        with contextlib.suppress(OSError):
            self.path.unlink()


class Spill:
    """The segments of a process. Not safe for threads: the backlog's lock guards it."""

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
        self._bytes = 0
        self._adopted: list[Path] = []
        self._locks: list[int] = []
        self._own: Path | None = None
        self._next = 0
        self.found: list[SegmentFile] = []
        """What earlier processes left, oldest first."""
        if adopt:
            self._adopt()

    def has_room(self, size: int) -> bool:
        """Whether that many bytes more stay within the limit."""
        return self._bytes + size <= self._most_bytes

    def count_bytes(self, change: int) -> None:
        """Say that so many bytes more, or fewer, are in the folder."""
        self._bytes += change

    def begin(self, first: bytes) -> SegmentFile:
        """A segment with its first event; makes this process's folder if there is none yet.

        Raises:
            OSError: there is no room, or the folder can't be made.
        """
        own = self._own = self._own or self._make_folder()
        self._next += 1
        path = own / f"{self._next:010}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            segment = SegmentFile(path, handle=os.open(path, flags, 0o600))
        except FileNotFoundError:
            self._own = None  # somebody tidied up: the next segment gets a new folder
            raise
        try:
            segment.append(first)
        except OSError:
            segment.remove()
            raise
        return segment

    def keep(self, items: Sequence[bytes]) -> None:
        """Write a segment for the next start.

        Raises:
            OSError: there is no room.
        """
        size = sum(len(item) + 1 for item in items)
        if not self.has_room(size):
            raise OSError("the spill folder is as full as it may get")
        segment = self.begin(items[0])
        try:
            for item in items[1:]:
                segment.append(item)
        except OSError:
            segment.remove()
            raise
        segment.seal()
        self.count_bytes(size)

    def close(self) -> None:
        """Let go of the folders; those that are empty are removed."""
        for folder in (*self._adopted, *filter(None, [self._own])):
            if not any(folder.glob("*.jsonl")):
                shutil.rmtree(folder, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Close the lock files; a forked child does it so as not to hold its parent's folder."""
        while self._locks:
            with contextlib.suppress(OSError):
                os.close(self._locks.pop())

    def _make_folder(self) -> Path:
        """A folder that is held before any other process can see it as one to adopt."""
        new = Path(tempfile.mkdtemp(prefix="new-", dir=self._folder))
        self._lock(new)
        return new.rename(new.with_name(_PREFIX + new.name.removeprefix("new-")))

    def _adopt(self) -> None:
        for left in sorted(self._folder.glob(f"{_PREFIX}*"), key=_age):
            if self._lock(left):
                self._adopted.append(left)
                self.found += _segments_in(left)
        self._bytes = sum(segment.size for segment in self.found)

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


def _segments_in(folder: Path) -> Iterator[SegmentFile]:
    for path in sorted(folder.glob("*.jsonl")):
        with contextlib.suppress(OSError):
            raw = path.read_bytes()
            yield SegmentFile(path, size=len(raw), count=raw.count(b"\n"))


def _age(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _write_whole(handle: int, line: bytes) -> None:
    if os.write(handle, line) != len(line):
        raise OSError(f"there is no room for {len(line)} bytes more")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
