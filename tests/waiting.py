"""The one way in which tests wait: for something to hold, or for it to go on holding."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

PATIENCE = 90.0
"""Seconds until a test gives up. Far more than anything takes: the machine may be busy."""


class NeverHeld(AssertionError):
    """What was waited for did not come, or what should have stayed did not."""


def until(
    holds: Callable[[], Answer],
    step: Callable[[], object] | None = None,
    *,
    seconds: float = PATIENCE,
    every: float = 0.01,
) -> Answer:
    """Ask until the answer is true; gives the answer. Between two questions do `step`, or rest.

    Raises:
        NeverHeld: no answer was true within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        if time.monotonic() > deadline:
            raise NeverHeld(f"it did not come to hold within {seconds} s")
        if step is not None:
            step()
        else:
            time.sleep(every)
    return answer


def throughout(seconds: float, holds: Callable[[], object]) -> None:
    """Ask again and again for so long: for what must not happen, though it has the time to.

    Raises:
        NeverHeld: an answer was not true.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not holds():
            raise NeverHeld("it ceased to hold")
        time.sleep(0.01)
