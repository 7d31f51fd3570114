"""One POST to somebody else's server: to the address that was looked at, within a time limit."""

import asyncio
import ssl
from collections.abc import Collection, Mapping, Sequence
from functools import cache

import httpx2

from services.notifications import destinations
from services.notifications.channels.outcome import Outcome, Result, outcome
from services.notifications.destinations import Network
from services.notifications.errors import ForbiddenDestination

SECONDS = 15.0
"""For all of it: whoever answers byte by byte takes no longer than whoever does not answer."""
_STEP_SECONDS = 10.0
_READ = 1_000
_GONE = frozenset({410})


@cache
def _trusted() -> ssl.SSLContext:
    """Whose certificates are believed. Reading them takes longer than most receivers do."""
    return ssl.create_default_context()


class Poster:
    """Posts to addresses that may be reached. It follows nobody elsewhere, and asks no proxy."""

    def __init__(self, allowed: Sequence[Network], *, seconds: float = SECONDS) -> None:
        self._allowed, self._seconds = allowed, seconds

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, gone: Collection[int] = _GONE
    ) -> Outcome:
        """Send it, and say what came back; an answer of `gone` means that nobody is there.

        Raises:
            InvalidInput: the address is none.
        """
        sending = _Sending()
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(url, body, headers, sending, gone)
        except ForbiddenDestination as error:
            return outcome(Result.NEVER, error.detail)
        except TimeoutError:
            return outcome(sending.lost, f"no answer within {self._seconds:g} s")
        except httpx2.ConnectError as error:
            return outcome(Result.AGAIN, f"no connection: {error}")
        except (httpx2.HTTPError, OSError) as error:
            return outcome(sending.lost, f"{type(error).__name__}: {error}")

    async def _post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        sending: "_Sending",
        gone: Collection[int],
    ) -> Outcome:
        target = destinations.parse(url)
        found = await destinations.resolve(target)
        address = destinations.require(target, found, self._allowed)
        async with httpx2.AsyncClient(
            verify=_trusted(), timeout=_STEP_SECONDS, trust_env=False
        ) as client:
            sending.begun = True
            # The certificate has to be the name's, though the connection goes to the address.
            async with client.stream(
                "POST",
                target.at(address),
                content=body,
                headers={**headers, "Host": target.authority},
                extensions={"sni_hostname": target.host},
            ) as answer:
                return await _read(answer, gone)


class _Sending:
    """Whether the receiver may have got something by now."""

    def __init__(self) -> None:
        self.begun = False

    @property
    def lost(self) -> Result:
        """What it means when nothing comes back."""
        return Result.UNKNOWN if self.begun else Result.AGAIN


async def _read(answer: httpx2.Response, gone: Collection[int]) -> Outcome:
    """What an answer says; no more than its beginning is read."""
    words = b""
    async for part in answer.aiter_raw():
        words += part
        if len(words) >= _READ:
            break
    said = f"{answer.status_code} {words[:_READ].decode(errors='replace')}"
    if answer.is_success:
        return outcome(Result.SENT, said)
    return outcome(Result.GONE if answer.status_code in gone else Result.AGAIN, said)
