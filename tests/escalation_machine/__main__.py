"""`python -m tests.escalation_machine`: the long walk."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from services.kit.database import Database, make_engine
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from tests.conftest import build_schema
from tests.escalation_machine.machine import prepare, walk
from tests.factories import named, populate


def main() -> int:
    """Walk; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.escalation_machine", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="walks at the same time")
    parser.add_argument("--shrink", action="store_true", help="tell the shortest way to a fault")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="secondlook-machine-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "data", options={"fsync": "off"})
        server.start()
        try:
            return _walk(server.url, given)
        finally:
            server.stop()


def _walk(url: str, given: argparse.Namespace) -> int:
    begun = time.monotonic()
    each = -(-given.steps // given.workers)
    with ProcessPoolExecutor(given.workers) as workers:
        walks = [
            workers.submit(
                one_walk, url, f"walk_{n}", each, given.seed + n * 1_000_000, given.shrink
            )
            for n in range(given.workers)
        ]
        done = sum((one.result() for one in walks), Counter[str]())
    seconds = time.monotonic() - begun
    total = each * given.workers
    print(f"{total:,} steps in {seconds:,.0f} s, {total / seconds:,.0f} a second")
    print(f"  {done.pop('refused', 0):,} verbs were refused, as they should be; done were")
    print("  " + ", ".join(f"{verb} {n:,}" for verb, n in sorted(done.items())))
    print("  0 unowned, 0 lost, 0 double steps")
    return 0


def one_walk(url: str, name: str, steps: int, seed: int, shrink: bool) -> Counter[str]:
    """A walk in a database of its own."""
    administration = Database(make_engine(url))
    connection = administration.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.exec_driver_sql(f"CREATE DATABASE {name}")
    connection.close()
    administration.close()
    build_schema(named(url, name))
    database = Database(make_engine(named(url, name)))
    try:
        populate(database)
        prepare(database)
        return walk(database, steps=steps, at=seed, shrink=shrink, tell=_every(10_000, name))
    finally:
        database.close()


def _every(number: int, name: str) -> Callable[[int], None]:
    """Says how far a walk is, now and then."""
    told = 0

    def tell(steps: int) -> None:
        nonlocal told
        if steps // number > told:
            told = steps // number
            print(f"{name}: {steps:,} steps", file=sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    sys.exit(main())
