"""Record batches made by hand and produced past every client, to see what readers make of them."""

import socket
import struct
from collections.abc import Sequence

from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

GZIP, ZSTD = 1, 4
_HEADER_SIZE, _CRC_AT, _ATTRIBUTES_AT, _COUNT_AT = 61, 17, 21, 57

Header = tuple[str, bytes]


def batch(values: Sequence[bytes], *, codec: int = 0, headers: Sequence[Header] = ()) -> bytes:
    """A batch of records without keys."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for offset, value in enumerate(values):
        builder.append(offset, 1_700_000_000_000, None, value, list(headers))
    return bytes(builder.build())


def recompressed(raw: bytes, codec: int, payload: bytes) -> bytes:
    """The batch with its records replaced by bytes that claim to be compressed."""
    made = bytearray(raw[:_HEADER_SIZE] + payload)
    struct.pack_into(">i", made, 8, len(made) - 12)
    struct.pack_into(">h", made, _ATTRIBUTES_AT, codec)
    return sealed(bytes(made))


def sealed(raw: bytes) -> bytes:
    """The batch with the checksum that its bytes have now."""
    made = bytearray(raw)
    struct.pack_into(">I", made, _CRC_AT, calc_crc32c(memoryview(raw)[_ATTRIBUTES_AT:]))
    return bytes(made)


def zstd_frame(data: bytes) -> bytes:
    """What zstd would write without compressing: one frame of one raw block."""
    block = (len(data) << 3 | 1).to_bytes(3, "little") + data
    return b"\x28\xb5\x2f\xfd" + b"\xa0" + len(data).to_bytes(4, "little") + block


def produce(address: str, topic: str, raw: bytes) -> None:
    """Send one batch to partition 0 of a topic, as version 7 of Produce."""
    host, _, port = address.partition(":")
    name = topic.encode()
    body = struct.pack(">hhihhhii", 0, 7, 1, -1, -1, -1, 10_000, 1)
    body += struct.pack(">h", len(name)) + name
    body += struct.pack(">iii", 1, 0, len(raw)) + raw
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        answer = connection.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        content = answer.read(size)
        answer.close()
    (error,) = struct.unpack_from(">h", content, 4 + 4 + 2 + len(name) + 4 + 4)
    assert error == 0, f"the broker refused the batch: error {error}"
