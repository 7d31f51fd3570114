"""How many connections one web process carries, and how many of them may wait for policies."""

import resource
from typing import NamedTuple

_MOST_CONNECTIONS = 5_000
_REQUESTS = 1_000
"""Connections that long polls never take, so that everything else goes on."""
_OTHER_FILES = 100


class Capacity(NamedTuple):
    """Connections in all, and long polls among them."""

    connections: int
    polls: int


def web_capacity() -> Capacity:
    """What this process carries by the files that it may open, of which it takes all it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    connections = max(2, allowed - _OTHER_FILES)
    return Capacity(connections, connections - min(_REQUESTS, connections // 2))
