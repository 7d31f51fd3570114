"""Kafka's record batches, decoded so that nothing in them can stop or fill the reader.

kafka-python raises on a bad header, a missing codec or a wrong checksum, and then fetches
the same bytes again for ever. Here what cannot be read becomes an `Unreadable` that keeps
its bytes and says where reading goes on.

The layout of a batch is that of Kafka's message format 2 (KIP-98).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from kafka.record.util import calc_crc32c

from services.kit.eventlog.compression import Unpackable, decompress
from services.kit.eventlog.port import Headers, Partition, Record, Unreadable

BATCH_LIMIT = 32 * 1024 * 1024

# Base offset, length, leader epoch, magic, checksum, attributes, last offset delta,
# first and last timestamp, producer id, producer epoch, base sequence, number of records.
_HEADER = struct.Struct(">qiibIhiqqqhii")
_PREFIX = struct.Struct(">qi")
_MAGIC_AT = 16
_CHECKED_FROM = 21
_CODEC, _LOG_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_FORMAT = 2
_MOST_OFFSETS = 10_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ABORT = 0


class Malformed(Exception):
    """Bytes that are no records, although their checksum is right."""


@dataclass(frozen=True, slots=True)
class RawBatch:
    """A batch with its header read and its records not."""

    raw: bytes
    first: int
    next: int
    epoch: int
    attributes: int
    first_time: int
    last_time: int
    producer: int
    count: int
    problem: str | None

    @property
    def is_control(self) -> bool:
        """Whether it marks the end of a transaction instead of holding records."""
        return bool(self.attributes & _CONTROL)

    @property
    def is_transactional(self) -> bool:
        """Whether its records count only if their transaction was committed."""
        return bool(self.attributes & _TRANSACTIONAL)

    def unreadable(self, reason: str, *, first: int | None = None) -> Unreadable:
        """The whole batch, or what is left of it from `first`, as something unreadable."""
        return Unreadable(self.first if first is None else first, self.next, reason, self.raw)


def split(data: bytes) -> Iterator[RawBatch]:
    """The batches of a fetched buffer; a batch cut off at its end is left out.

    Raises:
        Malformed: the buffer cannot be split, so nothing says where reading could go on.
    """
    position = 0
    while position + _PREFIX.size <= len(data):
        base, length = _PREFIX.unpack_from(data, position)
        end = position + _PREFIX.size + length
        if length <= _MAGIC_AT - _PREFIX.size or base < 0:
            raise Malformed(f"a batch of {length} bytes at offset {base}")
        if end > len(data):
            return
        following = _PREFIX.unpack_from(data, end)[0] if end + _PREFIX.size <= len(data) else None
        yield _raw_batch(data[position:end], following)
        position = end


def _raw_batch(raw: bytes, following: int | None) -> RawBatch:
    base = _PREFIX.unpack_from(raw)[0]
    if raw[_MAGIC_AT] != _FORMAT or len(raw) < _HEADER.size:
        problem = f"message format {raw[_MAGIC_AT]}, where only {_FORMAT} is read"
        return RawBatch(raw, base, base + 1, -1, 0, 0, 0, -1, 0, problem)
    _, _, epoch, _, checksum, attributes, delta, first, last, producer, _, _, count = (
        _HEADER.unpack_from(raw)
    )
    right = calc_crc32c(memoryview(raw)[_CHECKED_FROM:]) == checksum
    doubt = None if right else "the checksum is wrong"
    end = _trusted_end(base, base + delta + 1, following)
    return RawBatch(raw, base, end, epoch, attributes, first, last, producer, count, doubt)


def _trusted_end(base: int, claimed: int, following: int | None) -> int:
    """Where a batch ends, from its own word unless that cannot be."""
    if base < claimed <= (base + _MOST_OFFSETS if following is None else following):
        return claimed
    return base + 1 if following is None or following <= base else following


def ends_in_abort(batch: RawBatch) -> bool:
    """Whether a control batch marks an aborted transaction."""
    try:
        payload = _payload(batch)
        key = _Cursor(payload, 0).open_record().key
    except (Unpackable, Malformed, IndexError):
        return False
    return key is not None and len(key) >= 4 and struct.unpack_from(">h", key, 2)[0] == _ABORT


def decode(batch: RawBatch, partition: Partition) -> Iterator[Record | Unreadable]:
    """The records of a batch in order, with what cannot be read in its place."""
    if batch.problem is not None:
        yield batch.unreadable(batch.problem)
        return
    try:
        payload = _payload(batch)
    except Unpackable as problem:
        yield batch.unreadable(str(problem))
        return
    cursor, following = _Cursor(payload, 0), batch.first
    fixed = _moment(batch.last_time) if batch.attributes & _LOG_TIME else None
    for _ in range(batch.count):
        try:
            fields = cursor.open_record()
        except (Malformed, IndexError) as problem:
            yield batch.unreadable(f"broken records: {problem}", first=following)
            return
        offset = batch.first + fields.offset_delta
        if not following <= offset < batch.next:
            yield batch.unreadable(f"broken records: offset {offset}", first=following)
            return
        moment = fixed or _moment(batch.first_time + fields.time_delta)
        following = offset + 1
        yield _record(partition, offset, moment, fields)


def _record(
    partition: Partition, offset: int, moment: datetime, fields: "_Fields"
) -> Record | Unreadable:
    try:
        headers = _headers(fields) if fields.headers != b"\x00" else ()
    except (Malformed, IndexError, UnicodeDecodeError) as problem:
        return Unreadable(offset, offset + 1, f"broken headers: {problem}", fields.raw)
    return Record(partition, offset, fields.key, fields.value or b"", headers, moment)


def _payload(batch: RawBatch) -> bytes:
    data = batch.raw[_HEADER.size :]
    codec = batch.attributes & _CODEC
    return decompress(codec, data, limit=BATCH_LIMIT) if codec else data


def _moment(milliseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:  # a sender may write any number where the log does not set the time
        return _EPOCH


class _Fields(NamedTuple):
    """A record's parts, with its headers still encoded."""

    raw: bytes
    time_delta: int
    offset_delta: int
    key: bytes | None
    value: bytes | None
    headers: bytes


class _Cursor:
    """Reads record after record; each says how long it is, so a bad one can be stepped over."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    def number(self) -> int:
        """A zigzag-encoded number of variable length."""
        data, position = self.data, self.position
        byte = data[position]
        position += 1
        value, shift = byte & 0x7F, 7
        while byte & 0x80:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
        self.position = position
        return (value >> 1) ^ -(value & 1)

    def bytes(self) -> bytes | None:
        """A length and as many bytes, or None for a negative length."""
        length = self.number()
        if length < 0:
            return None
        start = self.position
        self.position = start + length
        if self.position > len(self.data):
            raise Malformed(f"{length} bytes announced, {len(self.data) - start} there")
        return self.data[start : self.position]

    def open_record(self) -> _Fields:
        """Read a record and step behind it."""
        length = self.number()
        start = self.position
        end = start + length
        if length <= 0 or end > len(self.data):
            raise Malformed(f"a record of {length} bytes where {len(self.data) - start} are left")
        self.position += 1  # attributes, unused
        time_delta, offset_delta = self.number(), self.number()
        key, value = self.bytes(), self.bytes()
        if self.position > end:
            raise Malformed("a record runs over its end")
        headers = self.data[self.position : end]
        self.position = end
        return _Fields(self.data[start:end], time_delta, offset_delta, key, value, headers)


def _headers(fields: _Fields) -> Headers:
    cursor = _Cursor(fields.headers, 0)
    headers = []
    for _ in range(cursor.number()):
        name = cursor.bytes()
        if name is None:
            raise Malformed("a header without a name")
        headers.append((name.decode("utf-8"), cursor.bytes() or b""))
    if cursor.position != len(fields.headers):
        raise Malformed("bytes left over after the headers")
    return tuple(headers)
