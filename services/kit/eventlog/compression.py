"""Decompression that stops at a limit: a batch of one megabyte can hold a gigabyte of zeros."""

import io
import struct
import zlib
from collections.abc import Callable

from kafka import codec

_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_GZIP_WINDOW = 31  # zlib's word for "gzip, largest window"
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16


class Unpackable(Exception):
    """Compressed bytes that are too large, broken, or of a kind without a library."""


def decompress(kind: int, data: bytes, *, limit: int) -> bytes:
    """Inflate a batch's records; `kind` is Kafka's number of the codec.

    Raises:
        Unpackable: it would be larger than `limit`, it is broken, or the library is missing.
    """
    inflate = _INFLATERS.get(kind)
    if inflate is None:
        raise Unpackable(f"unknown compression {kind}")
    try:
        inflated = inflate(data, limit)
    except Unpackable:
        raise
    except Exception as error:  # each library has errors of its own, some plain RuntimeError
        raise Unpackable(f"broken compression: {error!r}") from error
    if len(inflated) > limit:
        raise _too_large(limit)
    return inflated


def _too_large(limit: int) -> Unpackable:
    return Unpackable(f"more than {limit} bytes when decompressed")


def _missing(name: str) -> Unpackable:
    return Unpackable(f"no library for {name} is installed")


def _gzip(data: bytes, limit: int) -> bytes:
    """Inflate one gzip member after the other, as the format allows several."""
    parts, room = [], limit + 1
    while data and room > 0:
        member = zlib.decompressobj(_GZIP_WINDOW)
        part = member.decompress(data, room)
        parts.append(part)
        room -= len(part)
        if room > 0 and not member.eof:
            raise Unpackable("broken compression: the gzip data ends early")
        data = member.unused_data
    return b"".join(parts)


def _snappy(data: bytes, limit: int) -> bytes:
    """Inflate plain snappy, or the blocks that Java's clients write."""
    if not codec.has_snappy():
        raise _missing("snappy")
    if not data.startswith(_XERIAL_MAGIC):
        return _snappy_block(data, limit)
    parts, position, room = [], _XERIAL_HEADER, limit
    while position < len(data):
        (size,) = struct.unpack_from(">i", data, position)
        part = _snappy_block(data[position + 4 : position + 4 + size], room)
        parts.append(part)
        room -= len(part)
        position += 4 + size
    return b"".join(parts)


def _snappy_block(block: bytes, limit: int) -> bytes:
    """Inflate a block after reading how large it says it becomes: the library checks that."""
    size = shift = 0
    for byte in block[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > limit:
        raise _too_large(limit)
    inflated: bytes = codec.snappy.decompress(block)
    return inflated


def _lz4(data: bytes, limit: int) -> bytes:
    if codec.lz4 is None:
        raise _missing("lz4")
    inflated: bytes = codec.lz4.LZ4FrameDecompressor().decompress(data, max_length=limit + 1)
    return inflated


def _zstd(data: bytes, limit: int) -> bytes:
    if codec.zstd is None:
        raise _missing("zstd")
    source = codec.zstd.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    with source:
        inflated: bytes = source.read(limit + 1)
    return inflated


_INFLATERS: dict[int, Callable[[bytes, int], bytes]] = {
    _GZIP: _gzip,
    _SNAPPY: _snappy,
    _LZ4: _lz4,
    _ZSTD: _zstd,
}
