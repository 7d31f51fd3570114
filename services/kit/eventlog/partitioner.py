"""Which partition a key belongs to: Kafka's own rule, so that both logs agree."""

_MASK = 0xFFFFFFFF
_MULTIPLIER = 0x5BD1E995


def partition_of(key: bytes, partitions: int) -> int:
    """The partition, counted from 0, of all records with this key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """The 32-bit hash that Kafka's clients use, as an unsigned number."""
    length = len(data)
    result = 0x9747B28C ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        part = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _MASK
        part = (part ^ part >> 24) * _MULTIPLIER & _MASK
        result = result * _MULTIPLIER & _MASK ^ part
    if whole < length:
        rest = int.from_bytes(data[whole:], "little")
        result = (result ^ rest) * _MULTIPLIER & _MASK
    result = (result ^ result >> 13) * _MULTIPLIER & _MASK
    return result ^ result >> 15
