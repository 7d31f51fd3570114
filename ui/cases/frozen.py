"""The cases that a page showed, as its form sends them back: what comes meanwhile is not among
them.

Neither a time nor a highest number would do: what began before the page may be committed after it.
"""

import re
from collections.abc import Iterable, Iterator

from services.kit.errors import InvalidInput

MOST = 100_000
"""Cases that one form may name."""
_SPAN = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_TOO_OLD = "This page is too old; open the case again and choose once more."


def packed(cases: Iterable[int]) -> str:
    """Numbers of cases in few characters, as those of one incident are mostly neighbours."""
    spans: list[list[int]] = []
    for number in sorted(set(cases)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)


def unpacked(text: str) -> list[int]:
    """The numbers that `packed` wrote.

    Raises:
        InvalidInput: it is not what a page of ours holds, or more than `MOST`.
    """
    numbers: list[int] = []
    for first, last in _spans(text):
        if last < first or len(numbers) + last - first >= MOST:
            raise InvalidInput(_TOO_OLD)
        numbers.extend(range(first, last + 1))
    return numbers


def _spans(text: str) -> Iterator[tuple[int, int]]:
    for part in text.split(","):
        found = _SPAN.fullmatch(part)
        if found is None:
            raise InvalidInput(_TOO_OLD)
        yield int(found[1]), int(found[2] or found[1])
