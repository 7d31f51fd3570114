"""How many tools one web process lets wait for policies: `python -m benchmarks.long_polls`."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migrations.run import upgrade
from services.kit.clock import DatabaseClock
from services.kit.processes.capacity import web_capacity
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from services.tools import service as tool_service
from tests.factories import TOOL
from tests.factories.broker import free_port
from tests.factories.installation import Installation, open_resources, populate
from tests.factories.people import OPERATOR
from tests.factories.web_process import HealthWatch, WebProcess, web_process

_WATCHED_SECONDS = 10


@contextmanager
def _running() -> Iterator[tuple[WebProcess, Installation]]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="secondlook-") as folder:
        Path(folder).chmod(0o711)
        postgres = EmbeddedPostgres(Path(folder) / "data")
        postgres.start()
        upgrade(postgres.url)
        resources = open_resources(postgres.url)
        populate(resources.database)
        with web_process(postgres.url, Path(folder), free_port()) as server:
            yield server, Installation(resources)
        resources.close()
        postgres.stop()


async def _poll(server: WebProcess, key: str, tag: str) -> "asyncio.Task[bytes]":
    """Begin to wait for another policy than `tag`; the task ends with the answer's first line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"GET /v1/policy?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    writer.write(f"{head}If-None-Match: {tag}\r\n\r\n".encode())

    async def answered() -> bytes:
        try:
            return await reader.readline()
        finally:
            writer.close()

    return asyncio.create_task(answered())


async def _measure(server: WebProcess, here: Installation, key: str, count: int) -> None:
    connection = server.connect()
    connection.request("GET", "/v1/policy", headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    answer.read()
    tag = answer.headers["ETag"]
    memory = server.memory()
    polls = [await _poll(server, key, tag) for _ in range(count)]
    await asyncio.sleep(2)
    waiting, cpu = sum(not poll.done() for poll in polls), server.cpu()
    with HealthWatch(server) as health:
        await asyncio.sleep(_WATCHED_SECONDS)
    idle = (server.cpu() - cpu) / _WATCHED_SECONDS
    with here.database.transaction() as session:
        now = DatabaseClock().now(session)
        change = {"threshold": count / 10_000}
        tool_service.change_tool(session, TOOL, change, actor=OPERATOR, now=now)
    changed, cpu = time.monotonic(), server.cpu()
    with HealthWatch(server) as busy:
        lines = await asyncio.gather(*polls)
    took = time.monotonic() - changed
    told = sum(b" 200 " in line for line in lines)
    each = (server.memory() - memory) / 1024 / count
    sys.stdout.write(
        f"{count} polls: {waiting} wait, {each:.0f} KiB each, {idle:.1%} of a core with /healthz"
        f" asked all the time, which takes {health.longest * 1000:.0f} ms at most; {told} told of"
        f" a change within {took:.2f} s for {server.cpu() - cpu:.2f} CPU-s, /healthz then"
        f" {busy.longest * 1000:.0f} ms at most\n"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, default=[1_000, 4_000, 4_500])
    web_capacity()
    with _running() as (server, here):
        key = here.key()
        for count in parser.parse_args().counts:
            asyncio.run(_measure(server, here, key, count))


if __name__ == "__main__":
    main()
